"""gateway events: the inbox: list, show, replay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from gateway.cli.live import Watch, repeatedly
from gateway.cli.main import app
from gateway.cli.on_inbox import with_inbox
from gateway.cli.options import ALL, Json, Limit, Many, One, Yes, check_words, confirm, moment
from gateway.cli.output import clean, fail, print_json, print_table
from gateway.core.errors import UsageError

if TYPE_CHECKING:
    from gateway.admin.api.schemas import EventOut, EventsQuery, Replayed
    from gateway.admin.operations import Operations
    from gateway.admin.waiting import Outcome
    from gateway.cli.api_client import RemoteOperations

events = typer.Typer(no_args_is_help=True, help="The inbox: list, show, replay.")
app.add_typer(events, name="events")


def row(event: EventOut) -> dict[str, Any]:
    """What --json shows of an event in a list."""
    return {
        "id": event.id,
        "type": event.type,
        "account": event.account,
        "state": event.state.value,
        "outcome": event.outcome,  # null: nothing was owed
        "livemode": event.livemode,
        "received_at": event.received_at.isoformat(timespec="milliseconds"),
    }


def details(event: EventOut) -> dict[str, Any]:
    """What `show` tells of an event beside `row`."""
    return {
        **row(event),
        "connected_account": event.connected_account,
        "source": event.source,
        "test": event.test,
        "api_version": event.api_version,
        "written_for": event.written_for,
    }


def _query(
    type: list[str] | None,
    account: list[str] | None,
    state: list[str] | None,
    object: str | None,
    since: str | None,
    until: str | None,
    *,
    outcome: str | None = None,
    oldest_first: bool = False,
) -> EventsQuery:
    from gateway.admin.api.schemas import EventsQuery
    from gateway.admin.waiting import STATES
    from gateway.core.model import EventState

    check_words("--state", state, list(EventState))
    check_words("--outcome", [outcome] if outcome else None, list(STATES))
    return EventsQuery.model_construct(  # not bounded as a console's is
        account=account or [],
        type=type or [],
        state=[EventState(word) for word in state or ()],
        object=object or "",
        since=moment(since, "--since"),
        until=moment(until, "--until"),
        outcome=cast("Outcome | None", outcome),
        oldest_first=oldest_first,
    )


@events.command("list")
def list_events(
    type: Many = None,
    account: Many = None,
    state: Many = None,
    outcome: Annotated[str | None, typer.Option(help="With a delivery that is dead, waiting, succeeded, ...")] = None,
    object: One = None,
    since: One = None,
    until: One = None,
    limit: Limit = 50,
    as_json: Json = False,
    watch: Watch = False,
) -> None:
    """List events, the newest first."""
    from gateway.cli.inbox import listed

    query = _query(type, account, state, object, since, until, outcome=outcome)

    def show() -> None:
        rows = [row(event) for event in with_inbox(lambda inbox: listed(inbox.events, query, limit))]
        if as_json:
            print_json(rows)
            return
        columns = ["received_at", "id", "type", "account", "state", "outcome"]
        print_table(["received", *columns[1:]], [[event[column] for column in columns] for event in rows])

    repeatedly(show, watch=watch)


@events.command("show")
def show_event(event_id: str, account: One = None, as_json: Json = False) -> None:
    """Show one event, whole, and its deliveries."""
    from gateway.cli.commands.deliveries import row as delivery_row
    from gateway.cli.inbox import only

    event = only(with_inbox(lambda inbox: inbox.event(event_id, account or "")), event_id)
    deliveries = [delivery_row(delivery) for delivery in event.deliveries]
    if as_json:
        print_json({**details(event), "body": event.body, "deliveries": deliveries})
        return
    for key, value in details(event).items():
        if value is not None and value is not False:
            print(f"{key:17} {clean(value)}")
    if event.written_for is not None:
        print(f"the templates were written for {clean(event.written_for)}: fields may have moved since")
    columns = ["id", "route", "action", "state", "attempts", "last_error"]
    rows = [[delivery[column] for column in columns] for delivery in deliveries]
    print_table(["delivery", *columns[1:-1], "last error"], rows)
    print("\n".join(clean(line) for line in json.dumps(event.body, indent=2, ensure_ascii=False).splitlines()))


@events.command("replay")
def replay(
    ids: Annotated[list[str] | None, typer.Argument()] = None,
    type: Many = None,
    account: Many = None,
    state: Many = None,
    object: One = None,
    since: One = None,
    until: One = None,
    route: Annotated[list[str] | None, typer.Option(help="Only for this route.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Even where once_per says it was done.")] = False,
    limit: Limit = ALL,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Route stored events through today's config and make new deliveries, the oldest event first."""
    from gateway.cli.inbox import listed, this_person
    from gateway.core.internal_events import is_own

    if not (ids or type or account or state or object or since or until):
        raise fail("say which: event ids, or --type --account --object --state --since --until", 2)
    query = _query(type, account, state, object, since, until, oldest_first=True)
    names = list(dict.fromkeys(ids or ()))

    async def work(inbox: Operations | RemoteOperations) -> list[Replayed]:
        inbox.check_routes(route or ())
        chosen = await listed(lambda page: inbox.events(page, names), query, limit)
        missing = [name for name in names if name not in {event.id for event in chosen}]
        if missing:
            raise fail(f"not in the inbox, or not among what the filters ask for: {', '.join(missing)}")
        if not (names or account or any(is_own(pattern) for pattern in type or ())):
            chosen = [event for event in chosen if not is_own(event.type)]  # nobody wants last night's alerts once more
        confirm("Replay", "events", [event.type for event in chosen], yes=yes or dry_run)
        return await inbox.replay(this_person(), chosen, route or (), force=force, dry_run=dry_run)

    results = with_inbox(work)
    for result in results:
        if result.refused is not None:
            raise UsageError(result.refused)
    if as_json:
        print_json(
            [result.model_dump(include={"event_id", "type", "owed", "skips", "deliveries"}) for result in results]
        )
        return
    if not results:
        print("nothing matches")
        return
    print_table(
        ["event", "type", "would make" if dry_run else "made"],
        [[result.event_id, result.type, _owed(result)] for result in results],
    )


def _owed(result: Replayed) -> str:
    """What a replay makes of an event."""
    owed = [f"{name} ({result.skips[name]})" if name in result.skips else name for name in result.owed]
    return ", ".join(owed) or "nothing: no route wants it"
