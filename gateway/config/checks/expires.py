"""`expires` against what would always come too late."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.diagnostics.problem import Problem
from gateway.config.schema.routes import RetrySettings, RouteSettings
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.plugin.types import duration_text


def check_expires(at: Path_, route: RouteSettings, default: RetrySettings | None, source: Source) -> Iterator[Problem]:
    """Actions of which the first attempt, or every second one, would be too late."""
    for name, action in route.actions.items():
        if action.expires is None:
            continue
        retry = action.retry if action.retry is not None and "first" in action.retry.model_fields_set else default
        first = retry.first if retry is not None else RetrySettings().first
        if action.after is not None and action.expires <= action.after:
            message = (
                f"expires after {duration_text(action.expires)}, before its time has come: after is "
                f"{duration_text(action.after)}"
            )
            where = source.where((*at, "actions", name, "expires"))
            yield Problem(where, message, "both count from when the event happened", code="expires")
        elif action.expires <= first:
            message = (
                f"expires after {duration_text(action.expires)}, before the second attempt: retry.first is "
                f"{duration_text(first)}"
            )
            where = source.where((*at, "actions", name, "expires"))
            yield Problem(where, message, "give it more time, or a shorter retry.first", code="expires")
