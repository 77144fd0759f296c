"""Requests that were refused, kept apart from the inbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RejectedRequest:
    """A request that was refused because nothing proved that Stripe had sent it: kept apart, never routed, with all
    that it was judged by.
    """

    id: str
    received_at: datetime  # by the clock of the gateway that judged its age
    account: str | None  # of the path; None: it was posted to /webhooks
    reason: str  # one of REJECTED_REASONS
    address: str  # of the client as it was known then; "" where nobody could tell
    peer: str  # the address of the other end of the connection
    forwarded_for: str | None  # the X-Forwarded-For as sent
    signature: str | None  # the Stripe-Signature as sent
    size: int  # bytes, of the body and of the headers that are kept
    body: bytes = field(repr=False)  # exactly as posted; unverified


REJECTED_REASONS = {
    "missing": "it bears no Stripe-Signature: Stripe did not send it, or a proxy in front takes the header away",
    "malformed": "its Stripe-Signature is none: Stripe did not send it, or a proxy in front changes headers",
    "no_match": "no signing secret of the account had signed it: the secret here is wrong, a proxy in front changes "
    "bodies, or Stripe did not send it",
    "too_old": "it was signed too long before it came: the clock here is wrong, or somebody sent an old request again",
    "too_new": "it was signed in the future: the clock here is wrong",
    "malformed_event": "its signature is good, but its body is no event that this version understands",
    "too_large": "it is larger than server.max_body: its body was not read to the end and is not kept, its signature "
    "was not judged",
    "source": "its signature is good, but it came from an address that server.allowed_ips does not have",
}
"""Why a request was rejected, in words for a person."""


@dataclass(frozen=True, slots=True)
class RejectedBounds:
    """How much is kept of what was rejected. Where one of them is passed, what is oldest of the address that takes most
    goes first: who floods pushes out nobody else's.
    """

    requests: int
    size: int  # bytes
    age_seconds: float


@dataclass(frozen=True, slots=True)
class RejectedFilter:
    """Which rejected requests to list or verify. Empty fields do not narrow."""

    ids: Sequence[str] = ()
    accounts: Sequence[str] = ()
    reasons: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
