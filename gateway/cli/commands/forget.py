"""gateway forget: erases what the inbox keeps of one customer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.main import BadUsage, app, options
from gateway.cli.on_inbox import with_operations
from gateway.cli.options import Json, One
from gateway.cli.output import clean, counting, fail, print_json

if TYPE_CHECKING:
    from gateway.admin.operations import Operations
    from gateway.privacy.erasure import Found

MOST_SHOWN = 20


@app.command()
def forget(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER_ID", help="Stripe's id of the customer: cus_...")],
    account: One = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel what is still owed, and dead letters, of these events.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would erase.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Erase a customer's data from events, deliveries, attempts and rejected requests. Ids, types, times and states
    stay, so that a duplicate stays one and `once_per` stays done. There is no way back.
    """
    from gateway.cli.inbox import this_person
    from gateway.core.model import Refusal
    from gateway.privacy.erasure import find, forget_event, forget_rejected, naming

    if options.url:
        raise BadUsage(
            "forget: --url is for events and deliveries; a console is asked by POST /api/v1/customers/forget"
        )

    async def work(operations: Operations) -> dict[str, Any]:
        store = operations.store
        who = naming(store, customer, account)
        total = (await store.counts())["events"]
        with counting("looking", total) as told:
            kept = await find(store, who, told)
        told_plan = _plan(kept)
        if dry_run or not (kept.events or kept.rejected):
            return {**told_plan, "refused": [], "left_to_do": None}
        _refuse_waiting(kept, cancel)
        if not as_json:
            _print_plan(kept)
        if not yes:
            typer.confirm(f"Erase all that is kept of {customer}? There is no way back.", abort=True, err=True)
        await operations.note(this_person(), "customer.forget", customer)
        refused: list[str] = []
        seqs = (*kept.digests, *(seq for _, _, seq in kept.events))  # digests first: events tell which they are
        with counting("erasing", len(seqs)) as told:
            for number, seq in enumerate(seqs, 1):
                result = await forget_event(store, who, seq, cancel=cancel, now=datetime.now(UTC))
                refused += [result.reason] if isinstance(result, Refusal) else []
                told(number)
        await forget_rejected(store, who)
        return {**told_plan, "refused": refused, "left_to_do": await store.scrub()}

    done = with_operations(work)
    if as_json:
        print_json(done)
    else:
        _print_done(done, customer, dry_run)
    if done["refused"]:
        raise typer.Exit(1)


def _plan(kept: Found) -> dict[str, Any]:
    return {
        "events": [{"account": account, "id": event_id} for account, event_id, _ in kept.events],
        "deliveries": kept.deliveries,
        "waiting": [
            {"id": delivery.id, "event_id": delivery.event_id, "state": delivery.state} for delivery in kept.waiting
        ],
        "rejected": list(kept.rejected),
    }


def _refuse_waiting(kept: Found, cancel: bool) -> None:
    running = [delivery.id for delivery in kept.waiting if delivery.state == "running"]
    if running:
        raise fail(f"{len(running)} deliveries of these events run just now ({', '.join(running[:3])}); try again soon")
    if kept.waiting and not cancel:
        shown = ", ".join(f"{delivery.id} ({delivery.action}, {delivery.state})" for delivery in kept.waiting[:3])
        more = f" and {len(kept.waiting) - 3} more" if len(kept.waiting) > 3 else ""
        raise fail(
            f"{len(kept.waiting)} deliveries of these events are still owed, or dead letters: {shown}{more}.\n"
            "Without the event they can never run. Let them end first, or say --cancel."
        )


def _print_plan(kept: Found) -> None:
    print(f"{len(kept.events)} events, {kept.deliveries} deliveries, {len(kept.rejected)} rejected requests:")
    for account, event_id, _ in kept.events[:MOST_SHOWN]:
        print(clean(f"  {account}/{event_id}"))
    if len(kept.events) > MOST_SHOWN:
        print(f"  and {len(kept.events) - MOST_SHOWN} more events")
    if kept.waiting:
        print(f"{len(kept.waiting)} deliveries that are still owed, or dead letters, will be cancelled")


def _print_done(done: dict[str, Any], customer: str, dry_run: bool) -> None:
    events, rejected = len(done["events"]), len(done["rejected"])
    if not events and not rejected:
        print(f"nothing in the inbox names {customer}")
        return
    counts = f"{events - len(done['refused'])} events, {done['deliveries']} deliveries, {rejected} rejected requests"
    print(f"would erase {counts}" if dry_run else f"erased {counts}")
    for refusal in done["refused"]:
        print(clean(refusal))
    if done["left_to_do"]:
        print(clean(f"left to do: {done['left_to_do']}"))
    if not dry_run:
        print(
            "What left the gateway before (databases, mails, forwards, messages, logs, backups) is not reached by this."
        )
