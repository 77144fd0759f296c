"""Rejected requests, looked at again once a secret is mended: the good ones go into the inbox after all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.admin.operations import Operations
from gateway.admin.pausing import Actor
from gateway.core.errors import UsageError
from gateway.core.model import Event, RejectedFilter, RejectedRequest
from gateway.intake.planning import Readmitted, readmission
from gateway.store.protocol import Store

TAKEN = "taken"
DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Verified:
    """A rejected request that was looked at again."""

    request: RejectedRequest
    outcome: str  # TAKEN, DUPLICATE, or why it stays rejected
    event: Event | None = None  # that it brings into the inbox


async def verify(
    operations: Operations,
    actor: Actor,
    where: RejectedFilter,
    *,
    limit: int,
    dry_run: bool,
    confirm: Callable[[Sequence[str]], object],
) -> list[Verified]:
    """Checks rejected requests again, the oldest first, with today's secrets; those that are good go into the
    inbox, and are rejected no more. `confirm` is told their types before any does, and may raise. Raises UsageError.
    """
    readmit = readmission(operations.config)
    listed = await operations.store.rejected(where, limit=limit, newest_first=False)
    missing = set(where.ids) - {request.id for request in listed}
    if missing:
        named = ", ".join(name for name in where.ids if name in missing)
        raise UsageError(f"not rejected, or not among what the filters ask for: {named}")
    judged: list[tuple[RejectedRequest, Readmitted | str]] = []
    for request in listed:
        whole = await operations.store.rejected_request(request.id)
        judged.append((request, "gone" if whole is None else readmit(whole)))
    good = [request.id for request, readmitted in judged if not isinstance(readmitted, str)]
    if good and not dry_run:
        confirm([readmitted[0].type for _, readmitted in judged if not isinstance(readmitted, str)])
        await operations.note(actor, "rejected.verify", ", ".join(good), len(good))
    taken: set[tuple[str, str]] = set()
    return [await _take(operations.store, request, readmitted, taken, dry_run) for request, readmitted in judged]


async def _take(
    store: Store, request: RejectedRequest, readmitted: Readmitted | str, taken: set[tuple[str, str]], dry_run: bool
) -> Verified:
    """Adds the event, then forgets the request: what is broken off between is a duplicate at the next try."""
    if isinstance(readmitted, str):
        return Verified(request, readmitted)
    event, planned = readmitted
    key = (event.account, event.id)
    if dry_run:
        is_duplicate = key in taken or bool(await store.event(event.id, event.account))
    else:
        is_duplicate = (await store.add(event, planned)).is_duplicate
        await store.forget_rejected([request.id])
    taken.add(key)
    return Verified(request, DUPLICATE if is_duplicate else TAKEN, event)
