"""Options that several commands have, and what people write in them."""

from __future__ import annotations

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


def check_words(option: str, words: Sequence[str] | None, known: Collection[str]) -> None:
    """Raises BadUsage for a word that the option does not know."""
    for word in words or ():
        if word not in known:
            raise BadUsage(f"{option} {word}: one of {', '.join(known)}")


def confirm(question: str, count: int, *, yes: bool) -> None:
    """Asks before a change to many."""
    if count > ASK_ABOVE and not yes:
        typer.confirm(question, abort=True, err=True)


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
