"""gateway events: the inbox: list, show, replay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.main import BadUsage, app, clean, fail, print_json, print_table, with_inbox
from gateway.cli.options import moment

if TYPE_CHECKING:
    from gateway.cli.inbox import Inbox
    from gateway.core.model import Event, EventFilter

events = typer.Typer(no_args_is_help=True, help="The inbox: list, show, replay.")
app.add_typer(events, name="events")

Many = Annotated[list[str] | None, typer.Option()]
One = Annotated[str | None, typer.Option()]
Json = Annotated[bool, typer.Option("--json")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]
ALL = 1_000_000
ASK_ABOVE = 10


def row(event: Event) -> dict[str, Any]:
    """What --json shows of an event in a list."""
    return {
        "id": event.id,
        "type": event.type,
        "account": event.account,
        "state": event.state.value,
        "livemode": event.livemode,
        "received_at": event.received_at.isoformat(timespec="milliseconds"),
    }


def details(event: Event) -> dict[str, Any]:
    """What `show` tells of an event beside `row`."""
    return {
        **row(event),
        "connected_account": event.connected_account,
        "source": event.source,
        "test": event.is_test,
        "api_version": event.api_version,
        "written_for": event.written_for,
    }


def _filter(
    ids: list[str] | None,
    type: list[str] | None,
    account: list[str] | None,
    state: list[str] | None,
    object: str | None,
    since: str | None,
    until: str | None,
) -> EventFilter:
    from gateway.core.model import EventFilter, EventState

    for name in state or ():
        if name not in set(EventState):
            raise BadUsage(f"--state {name}: one of {', '.join(EventState)}")
    return EventFilter(
        ids=tuple(dict.fromkeys(ids or ())),
        accounts=account or (),
        types=type or (),
        states=state or (),
        object_id=object,
        since=moment(since, "--since"),
        until=moment(until, "--until"),
    )


@events.command("list")
def list_events(
    type: Many = None,
    account: Many = None,
    state: Many = None,
    object: One = None,
    since: One = None,
    until: One = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List events, the newest first."""
    where = _filter(None, type, account, state, object, since, until)
    found = [row(event) for event in with_inbox(lambda inbox: inbox.events(where, limit=limit))]
    if as_json:
        print_json(found)
        return
    print_table(
        ["received", "id", "type", "account", "state"],
        [[e["received_at"], e["id"], e["type"], e["account"], e["state"]] for e in found],
    )


@events.command("show")
def show_event(event_id: str, account: One = None, as_json: Json = False) -> None:
    """Show one event, whole, and its deliveries."""
    from gateway.cli.commands.deliveries import row as delivery_row
    from gateway.cli.inbox import Asked
    from gateway.core.model import DeliveryFilter

    async def work(inbox: Inbox) -> tuple[list[Event], list[Any]]:
        found = await inbox.event(event_id, account)
        asked = Asked(DeliveryFilter(event_ids=(event_id,)))
        return found, await inbox.deliveries(asked, limit=1000, newest_first=False)

    found, deliveries = with_inbox(work)
    if not found:
        raise fail(f"there is no event {event_id} in the inbox")
    if len(found) > 1:
        raise fail(f"several accounts have {event_id}: say --account {' or '.join(e.account for e in found)}", 2)
    event = found[0]
    own = [delivery_row(d) for d in deliveries if d.account == event.account]
    body = json.loads(event.body)
    if as_json:
        print_json({**details(event), "body": body, "deliveries": own})
        return
    for key, value in details(event).items():
        if value is not None and value is not False:
            print(f"{key:17} {clean(value)}")
    if event.written_for is not None:
        print(f"the templates were written for {clean(event.written_for)}: fields may have moved since")
    print_table(["delivery", "route", "action", "state", "attempts", "last error"], [
        [d["id"], d["route"], d["action"], d["state"], d["attempts"], d["last_error"]] for d in own
    ])  # fmt: skip
    print("\n".join(clean(line) for line in json.dumps(body, indent=2, ensure_ascii=False).splitlines()))


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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than 10.")] = False,
    as_json: Json = False,
) -> None:
    """Route stored events through today's config and make new deliveries, the oldest event first."""
    if not (ids or type or account or state or object or since or until):
        raise fail("say which: event ids, or --type --account --object --state --since --until", 2)
    where = _filter(ids, type, account, state, object, since, until)

    async def work(inbox: Inbox) -> list[dict[str, Any]]:
        await inbox.check_routes(route or ())
        listed = await inbox.events(where, limit=limit, newest_first=False)
        missing = [one for one in where.ids if one not in {event.id for event in listed}]
        if missing:
            raise fail(f"not in the inbox, or not among what the filters ask for: {', '.join(missing)}")
        if len(listed) > ASK_ABOVE and not dry_run and not yes:
            typer.confirm(f"Replay {len(listed)} events?", abort=True, err=True)
        return await inbox.replay(listed, route or (), force=force, dry_run=dry_run)

    done = with_inbox(work)
    if as_json:
        print_json(done)
        return
    if not done:
        print("nothing matches")
        return
    print_table(
        ["event", "type", "would make" if dry_run else "made"],
        [[d["event_id"], d["type"], ", ".join(d["owed"]) or "nothing: no route wants it"] for d in done],
    )
