"""Pure: does this request come from Stripe? The official library verifies; its gaps are closed here.

https://docs.stripe.com/webhooks/signature
"""

from __future__ import annotations

from collections.abc import Iterable

import stripe
from stripe import WebhookSignature

from gateway.core.errors import EnvelopeError, SignatureError
from gateway.core.model import Account

FUTURE_SECONDS = 3600.0  # the library takes any future time; clocks differ, but not by more than this


def _timestamp(header: str) -> int:
    """The `t=` of a header. Raises SignatureError."""
    for part in header.split(","):
        name, _, value = part.partition("=")
        if name == "t":  # to the letter, as the library reads it: two readings of one header invite replays
            if not (value.isascii() and value.isdecimal() and len(value) < 16):
                break
            return int(value)
    raise SignatureError("malformed")


def signed_at(header: str | None) -> int | None:
    """The Unix time that a `Stripe-Signature` names, right or not; None where it names none."""
    try:
        return _timestamp(header or "")
    except SignatureError:
        return None


def verify(body: bytes, header: str | None, account: Account, now_seconds: float) -> None:
    """Returns where `header` (the `Stripe-Signature`) proves that the account's endpoint was sent `body`.

    Every secret of the account is tried. Raises SignatureError: `missing`, `malformed`, `no_match`, `too_old`,
    `too_new`; EnvelopeError where the body is not UTF-8, which no Stripe event is.
    """
    if not header:
        raise SignatureError("missing")
    timestamp = _timestamp(header)
    if not header.isascii():
        raise SignatureError("malformed")
    for secret in account.signing_secrets:
        try:
            # The age is judged below, once a secret has matched: so that "too old" never means "anything".
            WebhookSignature.verify_header(body, header, secret, tolerance=None)
        except stripe.SignatureVerificationError:
            continue
        except UnicodeDecodeError:
            raise EnvelopeError("not UTF-8") from None
        except (TypeError, ValueError):  # a v1 that is not ASCII
            raise SignatureError("malformed") from None
        if timestamp < now_seconds - account.tolerance_seconds:
            raise SignatureError("too_old")
        if timestamp > now_seconds + FUTURE_SECONDS:
            raise SignatureError("too_new")
        return
    raise SignatureError("no_match")


def find_account(body: bytes, header: str | None, accounts: Iterable[Account], now_seconds: float) -> Account:
    """The account one of whose secrets signed the body. Raises SignatureError."""
    last = SignatureError("no_match")
    for account in accounts:
        try:
            verify(body, header, account, now_seconds)
        except SignatureError as error:
            if error.reason != "no_match":
                raise
            last = error
        else:
            return account
    raise last
