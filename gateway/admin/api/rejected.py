"""Rejected requests for the API and the console: what is taken and answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.admin.api.schemas import Model, OfRecord, Shown, When, Words, aware, words
from gateway.admin.operations import Operations
from gateway.admin.pausing import Actor
from gateway.admin.problems import Refused
from gateway.admin.readmission import verify
from gateway.core.model import REJECTED_REASONS, RejectedFilter, RejectedRequest
from gateway.privacy.views import shown_rejected

MOST_VERIFIED = 1000


def _reason(word: str) -> str:
    if word not in REJECTED_REASONS:
        raise ValueError(f"one of {', '.join(REJECTED_REASONS)}")
    return word


Reason = Annotated[str, AfterValidator(_reason)]


class RejectedQuery(Model):
    """Which rejected requests. Empty fields do not narrow."""

    id: Words = Field(default_factory=list, description="Their ids, rej_...")
    account: Words = Field(default_factory=list)
    reason: Annotated[list[Reason], BeforeValidator(words)] = Field(default_factory=list)
    since: When = Field(None, description="A time, or `2h` for two hours ago.")
    until: When = None
    limit: Annotated[int, Field(ge=1, le=MOST_VERIFIED)] = 100

    def filter(self) -> RejectedFilter:
        """The same for the store."""
        return RejectedFilter(
            ids=tuple(self.id), accounts=self.account, reasons=self.reason, since=aware(self.since),
            until=aware(self.until),
        )  # fmt: skip


class VerifyAsk(RejectedQuery):
    """Which rejected requests to judge again."""

    dry_run: bool = Field(False, description="Only say what would become of each.")


class RejectedOut(OfRecord):
    """A rejected request in a list."""

    id: str
    received_at: datetime
    account: str | None = Field(description="Of its path; null: it was posted to /webhooks.")
    reason: str
    address: str
    size: int


class RejectedWhole(RejectedOut):
    """One rejected request."""

    why: str | None
    peer: str
    forwarded_for: str | None
    signature: str | None
    body: str = Field(description="As text, what the account redacts hidden; it is nobody's word for Stripe's.")


class VerifiedOut(Shown):
    """What came of one."""

    id: str
    outcome: str = Field(description="`taken`, `duplicate`, or why it stays rejected.")
    event_id: str | None


async def rejected_page(operations: Operations, query: RejectedQuery) -> Sequence[RejectedRequest]:
    """The newest first; their bodies are left out."""
    return await operations.store.rejected(query.filter(), limit=query.limit)


async def rejected_whole(operations: Operations, rejected_id: str) -> RejectedWhole:
    """One. Raises Refused."""
    request = await operations.store.rejected_request(rejected_id)
    if request is None:
        raise Refused(404, "there is no such rejected request; they are kept for a while only")
    request = shown_rejected(request, operations.config.redactions)
    listed = RejectedOut.of(replace(request, body=b"")).model_dump()
    return RejectedWhole(
        **listed, why=REJECTED_REASONS.get(request.reason), peer=request.peer, forwarded_for=request.forwarded_for,
        signature=request.signature, body=request.body.decode("utf-8", "backslashreplace"),
    )  # fmt: skip


async def readmitted(operations: Operations, actor: Actor, query: RejectedQuery, *, dry_run: bool) -> list[VerifiedOut]:
    """What came of each that was judged again, the oldest first. Raises UsageError."""
    results = await verify(
        operations, actor, query.filter(), limit=query.limit, dry_run=dry_run, confirm=lambda types: None
    )
    return [
        VerifiedOut(
            id=result.request.id, outcome=result.outcome, event_id=None if result.event is None else result.event.id
        )
        for result in results
    ]
