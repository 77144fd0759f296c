"""Stripe accounts as configured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STRIPE_KEEPS_SECONDS = 30 * 86400  # https://docs.stripe.com/api/events: older events are gone


@dataclass(frozen=True, slots=True)
class Reconcile:
    """`reconcile:` of an account: how often to ask Stripe for events that did not arrive, and how far back."""

    every_seconds: float
    look_back_seconds: float
    undelivered: bool = True  # False: every event, whatever Stripe says of its delivery
    connected_accounts: tuple[str, ...] = ()  # ids, or EVERY_CONNECTED; the account's own are always asked for


@dataclass(frozen=True, slots=True)
class Account:
    """One Stripe account as configured here."""

    name: str
    signing_secrets: tuple[str, ...] = field(repr=False)
    livemode: bool | None  # None: any
    tolerance_seconds: float
    api_key: str = field(default="", repr=False)
    api_version: str | None = None  # what the templates were written for
    api_per_second: float | None = None  # requests to Stripe's API; None: what Stripe allows by default
    vars: Mapping[str, Any] = field(default_factory=dict)
    connected_vars: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by connected account
    reconcile: Reconcile | None = None
    may: frozenset[str] = frozenset()  # methods of Stripe's API that actions may call
    redact: tuple[tuple[str, ...], ...] = ()  # paths of fields that are shown to nobody


OWN = "none"  # in `connected_accounts`: events of the account itself


EVERY_CONNECTED = "*"
