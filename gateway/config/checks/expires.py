"""`expires` against what would always come too late."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.diagnostics.problem import Problem
from gateway.config.schema.routes import RetrySettings, RouteSettings
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.plugin.types import duration_text


def check_expires(at: Path_, route: RouteSettings, default: RetrySettings | None, source: Source) -> Iterator[Problem]:
    """Actions whose every second attempt would be too late."""
    for name, action in route.actions.items():
        if action.expires is None:
            continue
        retry = action.retry if action.retry is not None and "first" in action.retry.model_fields_set else default
        first = retry.first if retry is not None else RetrySettings().first
        if action.expires <= first:
            message = (
                f"expires after {duration_text(action.expires)}, before the second attempt: retry.first is "
                f"{duration_text(first)}"
            )
            where = source.where((*at, "actions", name, "expires"))
            yield Problem(where, message, "give it more time, or a shorter retry.first", code="expires")
