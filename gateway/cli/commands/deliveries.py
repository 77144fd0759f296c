"""gateway deliveries: deliveries and dead letters: list, show, retry, cancel."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.commands.events import ALL, ASK_ABOVE, Json, Limit, Many, One
from gateway.cli.main import BadUsage, app, clean, fail, load_config, options, print_json, print_table, with_inbox
from gateway.cli.options import moment

if TYPE_CHECKING:
    from gateway.cli.inbox import Asked, Inbox
    from gateway.core.model import ChangeResult, Delivery

deliveries = typer.Typer(no_args_is_help=True, help="Deliveries and dead letters: list, show, retry, cancel.")
app.add_typer(deliveries, name="deliveries")


def row(delivery: Delivery) -> dict[str, Any]:
    """What --json shows of a delivery in a list."""
    due = delivery.next_attempt_at
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "route": delivery.route,
        "action": delivery.action,
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "next_attempt_at": due.isoformat(timespec="milliseconds") if due else None,
        "last_error": delivery.last_error or delivery.reason,
    }


def _filter(
    ids: list[str] | None,
    state: list[str] | None,
    route: list[str] | None,
    action: list[str] | None,
    account: list[str] | None,
    connection: list[str] | None,
    event: list[str] | None,
    since: str | None,
    until: str | None,
) -> Asked:
    from gateway.cli.inbox import Asked
    from gateway.core.model import DeliveryFilter, DeliveryState

    for name in state or ():
        if name not in set(DeliveryState):
            raise BadUsage(f"--state {name}: one of {', '.join(DeliveryState)}")
    lanes = None
    if connection and not options.url:
        config = load_config()
        unknown = set(connection) - set(config.connections)
        if unknown:
            raise BadUsage(f"no such connection: {', '.join(sorted(unknown))}; known: {', '.join(config.connections)}")
        lanes = [(r.name, a.name) for r in config.routes for a in r.actions if a.connection in connection]
    where = DeliveryFilter(
        ids=tuple(dict.fromkeys(ids or ())),
        event_ids=event or (),
        accounts=account or (),
        routes=route or (),
        actions=action or (),
        lanes=lanes,
        states=state or (),
        since=moment(since, "--since"),
        until=moment(until, "--until"),
    )
    return Asked(where, connection or ())


@deliveries.command("list")
def list_deliveries(
    state: Many = None,
    route: Many = None,
    action: Many = None,
    account: Many = None,
    connection: Many = None,
    event: Many = None,
    since: One = None,
    until: One = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List deliveries, the newest first."""
    where = _filter(None, state, route, action, account, connection, event, since, until)
    found = [row(one) for one in with_inbox(lambda inbox: inbox.deliveries(where, limit=limit))]
    if as_json:
        print_json(found)
        return
    columns = ["id", "event_id", "route", "action", "state", "attempts", "next_attempt_at", "last_error"]
    print_table(columns, [[one[column] for column in columns] for one in found])


@deliveries.command("show")
def show_delivery(delivery_id: str, as_json: Json = False) -> None:
    """Show one delivery: what it rendered, what came of it, every attempt."""
    found = with_inbox(lambda inbox: inbox.delivery(delivery_id))
    if found is None:
        raise fail(f"there is no delivery {delivery_id}")
    delivery, attempts = found
    whole = {
        **row(delivery),
        "account": delivery.account,
        "type": delivery.event_type,
        "needs": list(delivery.needs),
        "waits_for_turn": delivery.waits_for_turn,
        "reason": delivery.reason,
        "created_at": delivery.created_at.isoformat(timespec="milliseconds"),
        "finished_at": delivery.finished_at.isoformat(timespec="milliseconds") if delivery.finished_at else None,
        "rendered": delivery.rendered,
        "output": delivery.output,
    }
    told = [
        {
            "number": one.number,
            "started_at": one.started_at.isoformat(timespec="milliseconds"),
            "duration_seconds": one.duration_seconds,
            "outcome": one.outcome.value,
            "error": one.error,
        }
        for one in attempts
    ]
    if as_json:
        print_json({**whole, "attempts": told})
        return
    for key, value in whole.items():
        shown = json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, (dict, list)) else value
        print(f"{key:16} {clean('' if shown is None else shown)}")
    columns = ["number", "started_at", "duration_seconds", "outcome", "error"]
    print_table(columns, [[one[column] for column in columns] for one in told])


def _change(what: str, asked: Asked, limit: int, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Retries or cancels what the filter finds, the oldest first, and says for each what came of it."""
    from gateway.core.model import DONE, Refusal

    async def work(inbox: Inbox) -> dict[str, ChangeResult]:
        found = [one.id for one in await inbox.deliveries(asked, limit=limit, newest_first=False)]
        missing = [one for one in asked.where.ids if one not in set(found)]
        if missing:
            raise fail(f"no such delivery, or not among what the filters ask for: {', '.join(missing)}")
        if dry_run or not found:
            return dict.fromkeys(found, DONE)
        if len(found) > ASK_ABOVE and not yes:
            typer.confirm(f"{what.capitalize()} {len(found)} deliveries?", abort=True, err=True)
        if what == "retry":
            return await inbox.retry(found)
        return await inbox.cancel(found)

    done = {key: result.reason if isinstance(result, Refusal) else None for key, result in with_inbox(work).items()}
    if as_json:
        print_json(
            [{"id": key, "done": value is None and not dry_run, "refused": value} for key, value in done.items()]
        )
    elif done:
        good = f"would {what}" if dry_run else "done"
        print_table(["id", what], [[key, value or good] for key, value in done.items()])
    else:
        print("nothing matches")
    if any(done.values()):
        raise typer.Exit(1)


Ids = Annotated[list[str] | None, typer.Argument()]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only show which.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than 10.")]


def _register(what: str, text: str, default_states: list[str]) -> None:
    def command(
        ids: Ids = None,
        state: Many = None,
        route: Many = None,
        action: Many = None,
        account: Many = None,
        connection: Many = None,
        event: Many = None,
        since: One = None,
        until: One = None,
        limit: Limit = ALL,
        dry_run: Dry = False,
        yes: Yes = False,
        as_json: Json = False,
    ) -> None:
        if not (ids or state or route or action or account or connection or event or since or until):
            filters = "--state --route --action --account --connection --event --since --until"
            raise BadUsage(f"say which: delivery ids, or {filters}")
        states = state if ids else state or default_states
        where = _filter(ids, states, route, action, account, connection, event, since, until)
        _change(what, where, limit, dry_run, yes, as_json)

    command.__doc__ = text
    deliveries.command(what)(command)


_register("retry", "Revive dead letters: same ids, attempts counted afresh, today's config.", ["dead"])
_register("cancel", "End deliveries for good.", ["blocked", "pending", "dead"])
