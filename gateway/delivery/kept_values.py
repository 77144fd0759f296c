"""What is kept of what an attempt rendered and brought: without the configuration's secrets and links that decide."""

from __future__ import annotations

import json
from typing import Any

from gateway.config.load import Config
from gateway.core.approval_link import has_link, without_links
from gateway.core.model import Finish
from gateway.delivery.attempt import AttemptResult
from gateway.store.keeping import whole_json


def for_keeping(result: AttemptResult, config: Config) -> AttemptResult:
    """The same as it may be stored: with a reference in the place of each secret that was rendered or came back. Every
    attempt renders anew.
    """
    ending, masker = result.ending, config.references
    if not isinstance(ending, Finish):
        return result
    try:  # of each one JSON, to be looked at and to be kept
        texts = (whole_json(ending.rendered), whole_json(ending.output))
    except Exception:  # not to be kept whole: what is hidden is hidden before it is cut
        texts = None
    if texts is not None:
        for text in texts:
            if text is not None and (masker.hides_in(text) or has_link(text)):
                break
        else:
            return result.with_ending(ending.with_values(*texts))
    both: tuple[Any, ...] = (ending.rendered, ending.output)
    if texts is not None:  # as they would be kept, so that what JSON says of a path or a URL is looked at too
        both = tuple(None if text is None else json.loads(text) for text in texts)
    values = without_links(masker.mask(both))
    return result.with_ending(ending.with_values(*values))
