"""gateway deliveries: deliveries and dead letters: list, show, retry, cancel, approve, refuse."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.live import Watch, repeatedly
from gateway.cli.main import BadUsage, app, load_config, options
from gateway.cli.on_inbox import with_inbox
from gateway.cli.options import ALL, Json, Limit, Many, One, Yes, check_words, confirm, duration, moment
from gateway.cli.output import fail, print_fields, print_json, print_rows, print_table

if TYPE_CHECKING:
    from gateway.admin.api.schemas import DeliveriesQuery, DeliveryOut, Result
    from gateway.admin.operations import Operations
    from gateway.cli.api_client import RemoteOperations

Waiting = Annotated[bool, typer.Option("--waiting", help="Only what waits until a time.")]
LOOK_SECONDS = 0.5  # between two looks at what is waited for
deliveries = typer.Typer(
    no_args_is_help=True, help="Deliveries and dead letters: list, show, retry, cancel, approve, refuse."
)
app.add_typer(deliveries, name="deliveries")


def row(delivery: DeliveryOut) -> dict[str, Any]:
    """What --json shows of a delivery in a list."""
    due, until = delivery.next_attempt_at, delivery.waits_until
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "route": delivery.route,
        "action": delivery.action,
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "next_attempt_at": due.isoformat(timespec="milliseconds") if due else None,
        "waits_until": until.isoformat(timespec="milliseconds") if until else None,
        "last_error": delivery.last_error or delivery.reason,
    }


def _query(
    state: list[str] | None,
    route: list[str] | None,
    action: list[str] | None,
    account: list[str] | None,
    connection: list[str] | None,
    owner: list[str] | None,
    event: list[str] | None,
    since: str | None,
    until: str | None,
    *,
    waiting: bool = False,
    oldest_first: bool = False,
) -> DeliveriesQuery:
    from gateway.admin.api.schemas import DeliveriesQuery
    from gateway.core.model import DeliveryState

    check_words("--state", state, list(DeliveryState))
    if connection and not options.url:
        known = load_config().connections
        unknown = set(connection) - set(known)
        if unknown:
            raise BadUsage(f"no such connection: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return DeliveriesQuery.model_construct(  # not bounded as a console's is
        state=[DeliveryState(word) for word in state or ()],
        route=route or [],
        action=action or [],
        account=account or [],
        connection=connection or [],
        owner=owner or [],
        event=event or [],
        since=moment(since, "--since"),
        until=moment(until, "--until"),
        waiting=waiting,
        oldest_first=oldest_first,
    )


@deliveries.command("list")
def list_deliveries(
    state: Many = None,
    route: Many = None,
    action: Many = None,
    account: Many = None,
    connection: Many = None,
    owner: Many = None,
    event: Many = None,
    since: One = None,
    until: One = None,
    waiting: Waiting = False,
    limit: Limit = 50,
    as_json: Json = False,
    watch: Watch = False,
) -> None:
    """List deliveries, the newest first."""
    from gateway.cli.inbox import listed

    query = _query(state, route, action, account, connection, owner, event, since, until, waiting=waiting)
    columns = ["id", "event_id", "route", "action", "state", "attempts", "next_attempt_at", "last_error"]

    def show() -> None:
        rows = [row(delivery) for delivery in with_inbox(lambda inbox: listed(inbox.deliveries, query, limit))]
        print_rows(rows, columns, as_json=as_json)

    repeatedly(show, watch=watch)


@deliveries.command("show")
def show_delivery(delivery_id: str, as_json: Json = False) -> None:
    """Show one delivery: what it rendered, what came of it, every attempt."""
    delivery = with_inbox(lambda inbox: inbox.delivery(delivery_id))
    if delivery is None:
        raise fail(f"there is no delivery {delivery_id}")
    whole = {
        **row(delivery),
        "account": delivery.account,
        "owner": delivery.owner,
        "type": delivery.type,
        "needs": delivery.needs,
        "waits_for_turn": delivery.waits_for_turn,
        "waits_for": delivery.waits_for,
        "reason": delivery.reason,
        "created_at": delivery.created_at.isoformat(timespec="milliseconds"),
        "finished_at": delivery.finished_at.isoformat(timespec="milliseconds") if delivery.finished_at else None,
        "rendered": delivery.rendered,
        "output": delivery.output,
    }
    attempts = [
        {
            **attempt.model_dump(),
            "started_at": attempt.started_at.isoformat(timespec="milliseconds"),
            "outcome": attempt.outcome.value,
        }
        for attempt in delivery.history
    ]
    if as_json:
        print_json({**whole, "attempts": attempts})
        return
    print_fields(whole, 16)
    print_rows(attempts, ["number", "started_at", "duration_seconds", "outcome", "error"], as_json=False)


def _change(
    what: str, ids: list[str], query: DeliveriesQuery, limit: int, dry_run: bool, yes: bool, wait_seconds: float
) -> tuple[list[Result], dict[str, str]]:
    """Retries or cancels what the filter finds, the oldest first, and says for each what came of it; where that is
    waited for, also which state each was in then.
    """
    from gateway.admin.api.schemas import Result
    from gateway.cli.inbox import listed, this_person

    async def work(inbox: Operations | RemoteOperations) -> tuple[list[Result], dict[str, str]]:
        deliveries = await listed(lambda page: inbox.deliveries(page, ids), query, limit)
        chosen = [delivery.id for delivery in deliveries]
        missing = [delivery_id for delivery_id in ids if delivery_id not in set(chosen)]
        if missing:
            raise fail(f"no such delivery, or not among what the filters ask for: {', '.join(missing)}")
        if dry_run or not chosen:
            return [Result(id=delivery_id, done=False, refused=None) for delivery_id in chosen], {}
        kinds = [f"{delivery.route}/{delivery.action}" for delivery in deliveries]
        confirm(what.capitalize(), "deliveries", kinds, yes=yes)
        results = await (inbox.retry if what == "retry" else inbox.cancel)(this_person(), chosen)
        done = [result.id for result in results if result.refused is None]
        return results, await _ended(inbox, done, wait_seconds) if wait_seconds else {}

    return with_inbox(work)


async def _ended(inbox: Operations | RemoteOperations, ids: list[str], wait_seconds: float) -> dict[str, str]:
    """The state of each delivery once all have ended, or the time is over."""
    from gateway.core.model import DeliveryState

    deadline = time.monotonic() + wait_seconds
    states: dict[str, str] = {}
    waited_for = ids
    while waited_for:
        for delivery_id in waited_for:
            delivery = await inbox.delivery(delivery_id)
            states[delivery_id] = "gone" if delivery is None else delivery.state.value
        waited_for = [name for name in ids if states[name] in (DeliveryState.PENDING, DeliveryState.RUNNING)]
        if not waited_for or time.monotonic() >= deadline:
            break
        await asyncio.sleep(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
    return states


Ids = Annotated[list[str] | None, typer.Argument()]
Wait = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Wait, at most so long, and say what became of each.")
]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only show which.")]


def _register(what: str, text: str, default_states: list[str]) -> None:
    def command(
        ids: Ids = None,
        state: Many = None,
        route: Many = None,
        action: Many = None,
        account: Many = None,
        connection: Many = None,
        owner: Many = None,
        event: Many = None,
        since: One = None,
        until: One = None,
        waiting: Waiting = False,
        limit: Limit = ALL,
        dry_run: Dry = False,
        yes: Yes = False,
        wait: Wait = None,
        as_json: Json = False,
    ) -> None:
        if not (ids or state or route or action or account or connection or event or since or until or waiting):
            filters = "--state --route --action --account --connection --event --since --until --waiting"
            raise BadUsage(f"say which: delivery ids, or {filters}")
        states = state if ids or waiting else state or default_states
        where = (states, route, action, account, connection, owner, event, since, until)
        query = _query(*where, waiting=waiting, oldest_first=True)
        seconds = duration(wait, "--wait") if wait is not None else 0.0
        results, became = _change(what, list(dict.fromkeys(ids or ())), query, limit, dry_run, yes, seconds)
        if as_json:
            print_json(
                [result.model_dump() | ({"state": became.get(result.id)} if became else {}) for result in results]
            )
        elif results:
            good = f"would {what}" if dry_run else "done"
            print_table(
                ["id", what], [[result.id, result.refused or became.get(result.id, good)] for result in results]
            )
            if became:
                print(", ".join(f"{count:,} {state}" for state, count in Counter(became.values()).most_common()))
        else:
            print("nothing matches")
        if any(result.refused for result in results) or "dead" in became.values():
            raise typer.Exit(1)

    command.__doc__ = text
    deliveries.command(what)(command)


_register("retry", "Revive dead letters: same ids, attempts counted afresh, today's config.", ["dead"])
_register("cancel", "End deliveries for good.", ["blocked", "pending", "dead"])


def _register_answer(what: str, text: str, *, is_yes: bool) -> None:
    def command(delivery_id: str, as_json: Json = False) -> None:
        from gateway.cli.inbox import this_person

        async def work(inbox: Operations | RemoteOperations) -> Result:
            return await inbox.answer(this_person(), delivery_id, is_yes=is_yes)

        result = with_inbox(work)
        if as_json:
            print_json(result.model_dump())
        else:
            print(f"{delivery_id}: {result.refused or f'{what}d'}")
        if result.refused is not None:
            raise typer.Exit(1)

    command.__doc__ = text
    deliveries.command(what)(command)


_register_answer("approve", "Say yes to a delivery that waits for it.", is_yes=True)
_register_answer("refuse", "Say no to a delivery that waits for a yes: it is cancelled.", is_yes=False)
