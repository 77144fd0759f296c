"""The Stripe accounts, and how Stripe is asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr

from gateway.config.schema.types import ApiVersion, AskedConnected, ConnectedId, RedactedField, Section, Timeout, within
from gateway.core.model import STRIPE_KEEPS_SECONDS
from gateway.plugin import Duration, Rate, Url

_LookBack = within("more than 0 and at most 30d: Stripe keeps events for 30 days", above=0, most=STRIPE_KEEPS_SECONDS)


def _api_base(value: str) -> str:
    host = value.partition("://")[2].partition("/")[0].rpartition(":")[0] or value.partition("://")[2].partition("/")[0]
    if not value.startswith("https://") and host not in ("127.0.0.1", "localhost", "[::1]"):
        raise ValueError("expected https://..., because API keys are sent there")
    return value.rstrip("/")


class StripeSettings(Section):
    """How Stripe's API is reached, for every account."""

    api_base: Annotated[Url, AfterValidator(_api_base)] = Field(
        "https://api.stripe.com", description="Where the API is; another only for a proxy or a stand-in."
    )
    timeout: Timeout = Field(10.0, description="How long one request to the API may take.")


class ReconcileSettings(Section):
    """Asks Stripe for events that did not arrive: when the gateway starts, and again and again."""

    every: Annotated[Duration, within("at least 1s: Stripe counts requests", least=1)] = Field(
        600.0, description="How often, at least 1s.", examples=["1h"]
    )
    look_back: Annotated[Duration, _LookBack] = Field(
        3 * 86400.0,
        description="How old an event may be; at most 30d, which is how long Stripe keeps them.",
        examples=["7d"],
    )
    events: Literal["undelivered", "all"] = Field(
        "undelivered",
        description="undelivered: those that Stripe could not deliver to every endpoint. all: also those that no "
        "endpoint was there for, such as a disabled one.",
        examples=["all"],
    )
    connected_accounts: list[AskedConnected] = Field(
        default_factory=list,
        description='Connected accounts to ask for as well: ids, or "*" for every one.',
        examples=[["acct_1Sb9KxQ4mTz7Yp2L"]],
    )


class ConnectedAccountSettings(Section):
    """What is known of one connected account."""

    vars: dict[str, Any] = Field(
        default_factory=dict,
        description="Constants for templates: connected_account.vars.NAME.",
        examples=[{"name": "Tea by the sea"}],
    )


class AccountSettings(Section):
    """One Stripe account."""

    signing_secrets: list[SecretStr] = Field(
        min_length=1,
        description="The whsec_... of its webhook endpoints; several while one is being rolled.",
        examples=[["${ACME_SIGNING_SECRET}"]],
    )
    api_key: SecretStr = Field(
        SecretStr(""),
        description="Only for fetch, backfill and endpoint checks. A restricted key that may read is enough.",
        examples=["${ACME_API_KEY:-}"],
    )
    livemode: bool | Literal["any"] = Field(
        "any", description="true or false: events of the other mode are ignored.", examples=[True]
    )
    tolerance: Duration = Field(300.0, description="How old a signature may be.", examples=["10m"])
    vars: dict[str, Any] = Field(
        default_factory=dict,
        description="Constants for templates: account.vars.NAME.",
        examples=[{"sender": "Shop EU <orders@eu.shop.example>"}],
    )
    api_version: ApiVersion | None = Field(
        None,
        description="What the templates were written for: events of another version are flagged.",
        examples=["2026-10-28.endive"],
    )
    api_rate: Rate | None = Field(
        None,
        description="At most so many requests to Stripe's API. Default: 100/s with a live key, 25/s with a test key.",
        examples=["50/s"],
    )
    silent_after: Duration | None = Field(
        None,
        description="gateway.account.silent is raised after so long without an event. Default: alerts.silent_after.",
        examples=["1h"],
    )
    connected_accounts: dict[ConnectedId, ConnectedAccountSettings] = Field(
        default_factory=dict,
        description="What is known of connected accounts, by id.",
        examples=[{"acct_1Sb9KxQ4mTz7Yp2L": {"vars": {"name": "Tea by the sea"}}}],
    )
    reconcile: ReconcileSettings | None = Field(
        None,
        description="Asks Stripe for events that did not arrive.",
        examples=[{"every": "10m", "look_back": "3d"}],
    )
    may: list[str] = Field(
        default_factory=list,
        description="What actions such as stripe_call may write at Stripe with the api_key: methods, as the official "
        "Python library names them. Left out: nothing.",
        examples=[["refunds.create", "customers.update"]],
    )
    redact: list[RedactedField] = Field(
        default_factory=list,
        description="Fields of events that nobody is shown: not in the console, the API, the command line or the log. "
        "`*` is any one name, `**` any number of them. Templates and actions get the true values.",
        examples=[["data.object.customer_details", "data.object.**.email"]],
    )
