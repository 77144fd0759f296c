"""gateway tail: events as they come, and what becomes of each."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.commands.events import row
from gateway.cli.main import app
from gateway.cli.on_inbox import with_inbox
from gateway.cli.options import Json, Many, check_words, duration, moment
from gateway.cli.output import clean, coloured

if TYPE_CHECKING:
    from gateway.admin.api.schemas import EventOut, EventsQuery
    from gateway.admin.operations import Operations
    from gateway.cli.api_client import RemoteOperations

LOOK_SECONDS = 1.0  # between two looks
LOOKED_AT = 200  # events, the newest: what becomes of older ones is not told any more
REMEMBERED = 2000  # of what was told


class Told:
    """What was told of each event already, so that each change is told once."""

    def __init__(self) -> None:
        self._outcomes: OrderedDict[tuple[str, str], str | None] = OrderedDict()

    def news(self, events: Sequence[EventOut]) -> list[EventOut]:
        """Those that are new, or have come to something else; the oldest first. Takes the newest first."""
        news = [
            event
            for event in reversed(events)
            if self._outcomes.get((event.account, event.id), "unknown") != event.outcome
        ]
        for event in news:
            self._outcomes[event.account, event.id] = event.outcome
            self._outcomes.move_to_end((event.account, event.id))
        while len(self._outcomes) > REMEMBERED:
            self._outcomes.popitem(last=False)
        return news


def line(event: EventOut) -> str:
    """One event for people: when it came, what it is, what has become of it."""
    outcome = event.outcome or "nothing owed"
    at = event.received_at.astimezone().strftime("%H:%M:%S")
    return f"{at}  {clean(event.id)}  {clean(event.account)}  {clean(event.type)}  {coloured(outcome)}"


@app.command()
def tail(
    type: Many = None,
    account: Many = None,
    outcome: Annotated[list[str] | None, typer.Option(help="Only what came to this: dead, waiting, ...")] = None,
    since: Annotated[str, typer.Option(help="Begin with those of so long ago.")] = "0s",
    stop_after: Annotated[str | None, typer.Option("--for", metavar="DURATION", help="Default: until Ctrl-C.")] = None,
    as_json: Json = False,
) -> None:
    """Show events as they come, and again when something has become of them. --json: an object a line."""
    from gateway.admin.api.schemas import EventsQuery
    from gateway.admin.waiting import STATES

    check_words("--outcome", outcome, list(STATES))
    seconds = duration(stop_after, "--for") if stop_after is not None else None
    query = EventsQuery.model_construct(
        account=account or [], type=type or [], state=[], object="", since=moment(since, "--since"), until=None,
        outcome=None, oldest_first=False,
    )  # fmt: skip
    with_inbox(lambda inbox: _follow(inbox, query, frozenset(outcome or ()), seconds, as_json=as_json))


async def _follow(
    inbox: Operations | RemoteOperations,
    query: EventsQuery,
    outcomes: frozenset[str],
    seconds: float | None,
    *,
    as_json: bool,
) -> None:
    from gateway.cli.inbox import listed

    told, end = Told(), time.monotonic() + seconds if seconds is not None else None
    while True:
        news = told.news(await listed(inbox.events, query, LOOKED_AT))
        if len(news) == LOOKED_AT:
            print(f"the newest {LOOKED_AT}; there may be more: gateway events list has all", file=sys.stderr)
        for event in news:
            if not outcomes or event.outcome in outcomes:
                shown: dict[str, Any] = row(event)
                print(json.dumps(shown) if as_json else line(event))
        sys.stdout.flush()
        left = LOOK_SECONDS if end is None else min(LOOK_SECONDS, end - time.monotonic())
        if left <= 0:
            return
        await asyncio.sleep(left)
