"""Options that several commands have, and what people write in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from gateway.cli.main import BadUsage

Many = Annotated[list[str] | None, typer.Option()]
One = Annotated[str | None, typer.Option()]
Json = Annotated[bool, typer.Option("--json")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than 10.")]
ALL = 1_000_000
ASK_ABOVE = 10
MOST_KINDS = 8  # named in a question


def check_words(option: str, words: Sequence[str] | None, known: Collection[str]) -> None:
    """Raises BadUsage for a word that the option does not know."""
    for word in words or ():
        if word not in known:
            raise BadUsage(f"{option} {word}: one of {', '.join(known)}")


def confirm(verb: str, noun: str, kinds: Sequence[str], *, yes: bool) -> None:
    """Asks before a change to many, each of a kind, such as the action that a delivery is of."""
    if len(kinds) > ASK_ABOVE and not yes:
        named = [f"{count:,} {kind}" for kind, count in Counter(kinds).most_common()]
        cut = [*named[:MOST_KINDS], f"{len(named) - MOST_KINDS} more kinds"] if len(named) > MOST_KINDS else named
        typer.confirm(f"{verb} {len(kinds):,} {noun} ({', '.join(cut)})?", abort=True, err=True)


def duration(text: str, option: str) -> float:
    """Seconds of `30s` or `2h`. Raises BadUsage."""
    from gateway.plugin import parse_duration

    try:
        return parse_duration(text)
    except (ValueError, OverflowError):
        raise BadUsage(f"{option} {text!r}: write 30s, 5m or 2h") from None


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
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadUsage(f"{option} {text!r}: write 2h, 3d or a time such as 2026-11-24T03:00") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
