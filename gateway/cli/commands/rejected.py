"""gateway rejected: requests that were refused: list, show, verify."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.commands.events import ALL, ASK_ABOVE, Json, Limit, Many, One
from gateway.cli.main import (
    BadUsage,
    app,
    clean,
    environment,
    fail,
    load_config,
    options,
    print_json,
    print_table,
    with_store,
)
from gateway.cli.options import moment

if TYPE_CHECKING:
    from gateway.core.model import RejectedFilter, RejectedRequest
    from gateway.intake.planning import Readmitted
    from gateway.store.protocol import Store

rejected = typer.Typer(invoke_without_command=True, help="Requests that were refused: list, show, verify.")
app.add_typer(rejected, name="rejected")

TAKEN = "taken"
DUPLICATE = "duplicate"


def row(request: RejectedRequest) -> dict[str, Any]:
    """What --json shows of a rejected request in a list."""
    return {
        "id": request.id,
        "received_at": request.received_at.isoformat(timespec="milliseconds"),
        "account": request.account,
        "reason": request.reason,
        "address": request.address or None,
        "size": request.size,
    }


def _filter(
    ids: list[str] | None, account: list[str] | None, reason: list[str] | None, since: str | None, until: str | None
) -> RejectedFilter:
    from gateway.core.model import REJECTED_REASONS, RejectedFilter

    for name in reason or ():
        if name not in REJECTED_REASONS:
            raise BadUsage(f"--reason {name}: one of {', '.join(REJECTED_REASONS)}")
    return RejectedFilter(
        ids=tuple(dict.fromkeys(ids or ())),
        accounts=account or (),
        reasons=reason or (),
        since=moment(since, "--since"),
        until=moment(until, "--until"),
    )


@rejected.callback()
def list_rejected(
    context: typer.Context,
    account: Many = None,
    reason: Many = None,
    since: One = None,
    until: One = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List requests that were refused, the newest first; or show one, or verify them again."""
    if options.url:
        raise BadUsage("rejected: --url is for events and deliveries; run this where gateway.yaml and its inbox are")
    if context.invoked_subcommand is not None:
        if account or reason or since or until or as_json or limit != 50:
            raise BadUsage(f"put the options after `rejected {context.invoked_subcommand}`")
        return
    where = _filter(None, account, reason, since, until)
    found = [row(one) for one in with_store(lambda store: store.rejected(where, limit=limit))]
    if as_json:
        print_json(found)
        return
    columns = ["received_at", "id", "account", "reason", "address", "size"]
    print_table(columns, [[one[column] for column in columns] for one in found])


@rejected.command("show")
def show_rejected(rejected_id: str, as_json: Json = False) -> None:
    """Show one rejected request, whole. Nothing in it can move the cursor or colour the screen."""
    from gateway.config.partial import load_redactions
    from gateway.core.model import REJECTED_REASONS
    from gateway.privacy.views import shown_rejected
    from gateway.stripe.signature import signed_at

    request = with_store(lambda store: store.rejected_request(rejected_id))
    if request is None:
        raise fail(f"there is no rejected request {rejected_id}; they are kept for a while only")
    request = shown_rejected(request, load_redactions(options.config, environment()))
    signed = signed_at(request.signature)
    whole = {
        **row(request),
        "why": REJECTED_REASONS.get(request.reason),  # None: a newer gateway knows
        "signed_at": None if signed is None else _time(signed),
        "peer": request.peer or None,
        "forwarded_for": request.forwarded_for,
        "signature": request.signature,
    }
    if as_json:
        print_json({**whole, **_body(request.body)})
        return
    for key, value in whole.items():
        print(f"{key:14} {clean('' if value is None else value)}")
    print()
    print("\n".join(clean(line) for line in request.body.decode("utf-8", "backslashreplace").split("\n")))


def _time(seconds: int) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return None


def _body(body: bytes) -> dict[str, str | None]:
    """As text; where it is none, in base64."""
    try:
        return {"body": body.decode(), "body_base64": None}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": base64.b64encode(body).decode()}


@rejected.command("verify")
def verify_rejected(
    ids: Annotated[list[str] | None, typer.Argument(help="Default: all.")] = None,
    account: Many = None,
    reason: Many = None,
    since: One = None,
    until: One = None,
    limit: Limit = ALL,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than 10.")] = False,
    as_json: Json = False,
) -> None:
    """Check rejected requests again, the oldest first, with today's secrets and the time at which each came. Those that
    are good go into the inbox by the ordinary way, and are rejected no more.
    """
    from gateway.cli.inbox import note
    from gateway.intake.planning import readmission

    where = _filter(ids, account, reason, since, until)
    readmit = readmission(load_config())

    async def work(store: Store) -> list[dict[str, Any]]:
        listed = await store.rejected(where, limit=limit, newest_first=False)
        missing = [one for one in where.ids if one not in {request.id for request in listed}]
        if missing:
            raise fail(f"not rejected, or not among what the filters ask for: {', '.join(missing)}")
        judged: list[tuple[RejectedRequest, Readmitted | str]] = []
        for request in listed:
            whole = await store.rejected_request(request.id)
            judged.append((request, "gone" if whole is None else readmit(whole)))
        good = sum(not isinstance(found, str) for _, found in judged)
        if good > ASK_ABOVE and not dry_run and not yes:
            typer.confirm(f"Take {good} events into the inbox?", abort=True, err=True)
        if good and not dry_run:
            ids = [request.id for request, found in judged if not isinstance(found, str)]
            await note(store, "rejected.verify", ids)
        taken: set[tuple[str, str]] = set()
        return [await _take(store, request, found, taken, dry_run) for request, found in judged]

    done = with_store(work)
    if as_json:
        print_json(done)
    elif not done:
        print("nothing matches")
    else:
        good_word = "would be taken" if dry_run else TAKEN
        print_table(
            ["id", "received", "outcome", "event", "type"],
            [
                [
                    d["id"],
                    d["received_at"],
                    good_word if d["outcome"] == TAKEN else d["outcome"],
                    d["event_id"],
                    d["type"],
                ]
                for d in done
            ],
        )
    if ids and any(one["outcome"] not in (TAKEN, DUPLICATE) for one in done):
        raise typer.Exit(1)


async def _take(
    store: Store, request: RejectedRequest, found: Readmitted | str, taken: set[tuple[str, str]], dry_run: bool
) -> dict[str, Any]:
    """Adds the event first and forgets the request then: what is broken off between is a duplicate at the next try."""
    event = None
    if isinstance(found, str):
        outcome = found
    else:
        event, planned = found
        key = (event.account, event.id)
        if dry_run:
            is_duplicate = key in taken or bool(await store.event(event.id, event.account))
        else:
            is_duplicate = (await store.add(event, planned)).is_duplicate
            await store.forget_rejected([request.id])
        taken.add(key)
        outcome = DUPLICATE if is_duplicate else TAKEN
    return {
        "id": request.id,
        "received_at": row(request)["received_at"],
        "outcome": outcome,
        "event_id": event.id if event is not None else None,
        "type": event.type if event is not None else None,
        "account": event.account if event is not None else request.account,
    }
