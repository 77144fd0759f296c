"""Times as people write them on a command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.cli.main import BadUsage


def moment(text: str | None, option: str) -> datetime | None:
    """`2h` ago, or an ISO time (UTC unless it says otherwise). Raises BadUsage."""
    if text is None:
        return None
    from gateway.plugin import parse_duration

    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadUsage(f"{option} {text!r}: write 2h, 3d or a time such as 2026-11-24T03:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
