"""Headers of HTTP that can be sent: names, values, and those that are the gateway's own to write."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # a tab may stand in a value, RFC 9110, section 5.5
_FRAMING = frozenset(  # what says where the message goes and ends (RFC 9112), and what is between two hops alone
    ("host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer")
) | {"proxy-connection", "proxy-authorization"}


def check_name(name: str) -> str:
    """A header's name that can be sent. Raises ValueError."""
    shown = name[:40]
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{shown!r} is no name of a header: letters, digits and - only")
    if name.lower() in _FRAMING:
        raise ValueError(f"the header {shown!r} may not be set so: it is written with each request")
    return name


def check_value(value: str) -> str:
    """A header's value that can be sent. Raises ValueError, without the value in it."""
    if _CONTROL.search(value):
        raise ValueError("may not be set so: there is a line break or a control character in it")
    return value


Headers = dict[Annotated[str, AfterValidator(check_name)], Annotated[str, AfterValidator(check_value)]]
"""Headers as they stand in `with`."""
