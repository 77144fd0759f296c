"""gateway rejected: requests that were refused: list, show, verify."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.main import BadUsage, app, environment, options, with_store
from gateway.cli.on_inbox import with_operations
from gateway.cli.options import ALL, Json, Limit, Many, One, Yes, check_words, confirm, moment
from gateway.cli.output import clean, fail, print_fields, print_json, print_rows, print_table

if TYPE_CHECKING:
    from gateway.admin.operations import Operations
    from gateway.admin.readmission import Verified
    from gateway.core.model import RejectedFilter, RejectedRequest

rejected = typer.Typer(invoke_without_command=True, help="Requests that were refused: list, show, verify.")
app.add_typer(rejected, name="rejected")


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

    check_words("--reason", reason, REJECTED_REASONS)
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
    rows = [row(request) for request in with_store(lambda store: store.rejected(where, limit=limit))]
    print_rows(rows, ["received_at", "id", "account", "reason", "address", "size"], as_json=as_json)


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
    print_fields(whole, 14)
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
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Check rejected requests again, the oldest first, with today's secrets and the time at which each came. Those that
    are good go into the inbox by the ordinary way, and are rejected no more.
    """
    from gateway.admin.readmission import DUPLICATE, TAKEN, verify
    from gateway.cli.inbox import this_person

    where = _filter(ids, account, reason, since, until)

    async def work(operations: Operations) -> list[Verified]:
        def ask(types: Sequence[str]) -> None:
            confirm("Take", "events into the inbox", types, yes=yes)

        return await verify(operations, this_person(), where, limit=limit, dry_run=dry_run, confirm=ask)

    results = [_verified(request) for request in with_operations(work)]
    if as_json:
        print_json(results)
    elif not results:
        print("nothing matches")
    else:
        good = "would be taken" if dry_run else TAKEN
        shown = [{**result, "outcome": good if result["outcome"] == TAKEN else result["outcome"]} for result in results]
        columns = ["id", "received_at", "outcome", "event_id", "type"]
        rows = [[result[column] for column in columns] for result in shown]
        print_table(["id", "received", "outcome", "event", "type"], rows)
    if ids and any(result["outcome"] not in (TAKEN, DUPLICATE) for result in results):
        raise typer.Exit(1)


def _verified(verified: Verified) -> dict[str, Any]:
    """What --json shows of a request that was looked at again."""
    event, request = verified.event, verified.request
    return {
        "id": request.id,
        "received_at": row(request)["received_at"],
        "outcome": verified.outcome,
        "event_id": event.id if event is not None else None,
        "type": event.type if event is not None else None,
        "account": event.account if event is not None else request.account,
    }
