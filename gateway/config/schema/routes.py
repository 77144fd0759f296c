"""Routes: which events, on which condition, lead to which actions, and when those are tried again."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from gateway.config.schema.later import After, DuringSettings, UntilSettings
from gateway.config.schema.types import ApiVersion, Bound, Expand, Section, Share, Timeout, WantedConnected
from gateway.core.model import Approve, AuditRule, Debounce, Digest, RetryPolicy
from gateway.plugin import Duration, Name

DIGEST_WAIT_SECONDS = 30.0


class RetrySettings(Section):
    """When failed deliveries run again. Keys left out keep the default's value."""

    attempts: int = Field(20, ge=1, le=1000, description="Runs in all, the first included.", examples=[50])
    first: Duration = Field(5.0, description="Wait before the second run.", examples=["10s"])
    factor: float = Field(4.0, ge=1, le=100, description="Each wait is so many times the one before.", examples=[2])
    max: Duration = Field(21600.0, description="No wait is longer, whatever Retry-After says.", examples=["1h"])

    def policy(self) -> RetryPolicy:
        """The same as a plain record."""
        return RetryPolicy(self.attempts, self.first, self.factor, self.max)


class Defaults(Section):
    """What holds for every action that does not say otherwise."""

    timeout: Timeout = Field(30.0, description="An attempt ends after so long; at most 10m.", examples=["20s"])
    retry: RetrySettings = Field(
        default_factory=RetrySettings,
        description="When failed deliveries run again. The defaults span 3.3 days: a weekend.",
    )


class FetchSettings(Section):
    """Asks Stripe for the object as it is when the delivery runs. true: with nothing expanded; false: not at all."""

    wanted: bool = Field(True, description="false: the same as `fetch: false`.", examples=[False])
    expand: list[Expand] = Field(
        default_factory=list,
        description="Fields to expand: https://docs.stripe.com/api/expanding_objects",
        examples=[["line_items"]],
    )
    api_version: ApiVersion | None = Field(
        None, description="Instead of the account's or the event's.", examples=["2026-10-28.endive"]
    )
    again: bool = Field(
        False, description="Ask at every attempt, instead of once for all actions of an event.", examples=[True]
    )
    object_: bool = Field(
        True,
        alias="object",
        description="false: the object as the event tells it, only its lists are brought to their end.",
        examples=[False],
    )
    event: bool = Field(
        False, description="true: a thin event itself is read too, so that event.data is there.", examples=[True]
    )

    @model_validator(mode="before")
    @classmethod
    def _from_bool(cls, value: Any) -> Any:
        return {"wanted": value} if isinstance(value, bool) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, handler.resolve_ref_schema(handler(schema))]}


class DigestSettings(Section):
    """Gathers events that come close together. 5m is the same as {every: 5m}."""

    every: Bound = Field(description="At most one digest in so long.", examples=["5m"])
    wait: Duration = Field(
        DIGEST_WAIT_SECONDS,
        description="How long the first event waits for others; never longer than `every`.",
        examples=["10s"],
    )

    @model_validator(mode="before")
    @classmethod
    def _from_duration(cls, value: Any) -> Any:
        return value if isinstance(value, (dict, cls)) else {"every": value}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        mapping = handler.resolve_ref_schema(handler(schema))
        every = mapping["properties"]["every"]
        return {"anyOf": [{**every, "pattern": every["pattern"] + r"|\$\{"}, mapping]}

    def rule(self) -> Digest:
        """The same as a plain record."""
        return Digest(self.every, min(self.wait, self.every))


class DebounceSettings(Section):
    """Of a burst of events, the last one acts."""

    by: str = Field(
        title="expression", description="Events with the same value are of one burst.", examples=["object.id"]
    )
    wait: Bound = Field(description="The last one acts when no other has come for so long.", examples=["30s"])
    max: Bound = Field(description="No longer than so after the first, however many come.", examples=["5m"])

    @model_validator(mode="after")
    def _ordered(self) -> DebounceSettings:
        if self.max < self.wait:
            raise ValueError("max is shorter than wait")
        return self

    def rule(self) -> Debounce:
        """The same as a plain record."""
        return Debounce(self.wait, self.max)


class ApproveSettings(Section):
    """Holds an action until somebody says yes."""

    by: list[str] = Field(
        min_length=1,
        description="Who may say so: operator (whoever has the operator's token), or names that people sign in with. "
        "Whoever has the link of a message may, too.",
        examples=[["finance"], ["operator"]],
    )
    within: Bound = Field(description="For so long it waits.", examples=["2d"])
    else_: Literal["cancel", "run"] = Field(
        "cancel", alias="else", description="What becomes of it when nobody has answered by then.", examples=["run"]
    )

    def rule(self) -> Approve:
        """The same as a plain record."""
        return Approve(tuple(self.by), self.within, self.else_ == "run")


class AuditSettings(Section):
    """Compares the rows that the route's db_upsert keeps with what Stripe says, again and again."""

    every: Bound = Field(description="How often.", examples=["1d"])
    sample: Share = Field(0.01, description="How many of the objects, chosen by chance each time.", examples=["5%"])

    def rule(self) -> AuditRule:
        """The same as a plain record."""
        return AuditRule(self.every, self.sample)


class ActionSettings(Section):
    """One named use of an action inside a route."""

    uses: str = Field(
        title="name of an action",
        description="The action: one of those built in, or a plugin's name; gateway actions lists them.",
        examples=["http_forward"],
    )
    with_: dict[str, Any] = Field(
        default_factory=dict,
        alias="with",
        description="The action's own settings.",
        examples=[{"connection": "warehouse"}],
    )
    needs: list[Name] | dict[Name, Literal["succeeded", "dead", "skipped", "any"]] = Field(
        default_factory=list,
        title="list of names, or mapping of names to ends",
        description="Actions of this route that must succeed first; as a mapping, how each must have ended: succeeded, "
        "dead (failed for good, or expired), skipped, any.",
        examples=[["save"], {"save": "dead"}],
    )
    if_: str | bool | None = Field(
        None,
        alias="if",
        title="expression",
        description="Judged when the delivery runs, with the output of what it needs; false: the action is skipped.",
        examples=["object.amount_total >= 100000"],
    )
    retry: RetrySettings | None = Field(None, description="Instead of defaults.retry, key by key.")
    expires: Bound | None = Field(
        None,
        title="duration",
        description="What is older, since Stripe made the event, ends expired instead of being sent.",
        examples=["24h"],
    )
    timeout: Timeout | None = Field(None, description="Instead of defaults.timeout.", examples=["2m"])
    approve: ApproveSettings | None = Field(
        None,
        description="Holds the action until somebody says yes: console, API, `gateway deliveries approve`, or the link "
        "`approval.url` in a message.",
        examples=[{"by": ["finance"], "within": "2d", "else": "cancel"}],
    )
    dry_run: bool = Field(
        False, description="true: everything happens but the sending; what would go out is kept.", examples=[True]
    )
    after: After | None = Field(None, description="Acts so long after the event happened.", examples=["3d"])
    at: str | None = Field(
        None,
        title="expression",
        description="Acts at this time: Unix seconds or a time, told when the event arrives, from the event alone.",
        examples=["{{ object.trial_end | timestamp }}"],
    )
    during: DuringSettings | None = Field(
        None,
        description="Acts only within these hours, also when it is tried again.",
        examples=[{"days": "mon-fri", "hours": "09:00-18:00", "timezone": "Europe/Berlin"}],
    )
    still_if: str | None = Field(
        None,
        title="expression",
        description="Judged when its time has come, with the object as fetch brings it then; false: it is skipped.",
        examples=["object.status == 'past_due'"],
    )
    until: UntilSettings | None = Field(
        None,
        description="Cancelled when such an event comes first.",
        examples=[{"events": ["invoice.paid"], "same": "object.customer"}],
    )


class RouteSettings(Section):
    """Which events, on which condition, lead to which actions."""

    description: str = Field("", description="What it is for, in words.", examples=["Paid orders go to the warehouse."])
    owner: str = Field(
        "",
        max_length=200,
        description="Who answers for it: told with its alerts and dead letters, and a filter of the lists.",
        examples=["fulfilment@shop.example"],
    )
    enabled: bool = Field(
        True,
        description="false: it does nothing; the events that it would take are recorded as skipped.",
        examples=[False],
    )
    accounts: list[Name] | None = Field(
        None,
        min_length=1,
        description="The accounts whose events it takes. Left out: every account.",
        examples=[["acme"]],
    )
    connected_accounts: list[WantedConnected] = Field(
        default_factory=lambda: ["none"],
        min_length=1,
        description='Events of which connected accounts: ids, "*" (every one), none (the account\'s own; the default).',
        examples=[["*"], ["acct_1Sb9KxQ4mTz7Yp2L", "none"]],
    )
    events: list[str] = Field(
        min_length=1,
        description="Types of event; * stands for any characters. The gateway's own only fit patterns that begin with "
        "gateway.",
        examples=[["checkout.session.completed", "customer.subscription.*"], ["gateway.*"]],
    )
    if_: str | bool | None = Field(
        None,
        alias="if",
        title="expression",
        description="Judged when the event arrives, from the event alone; false: the route does not take it.",
        examples=["object.payment_status != 'unpaid'"],
    )
    fetch: FetchSettings | None = Field(
        None,
        title="true, false or mapping",
        description="Asks Stripe for the object as it is when the delivery runs: `object` becomes that.",
        examples=[{"expand": ["line_items"]}],
    )
    once_per: str | None = Field(
        None,
        title="expression",
        description="The route acts once for each of its values, whichever event came first.",
        examples=["object.id"],
    )
    order_by: str | None = Field(
        None,
        title="expression",
        description="Deliveries with the same value run one at a time, in order of arrival.",
        examples=["object.id"],
    )
    null_key: Literal["act", "dead"] = Field(
        "act",
        description="What becomes of an event whose once_per or order_by is null or empty. act: that is no key, so it "
        "acts and holds up nobody; dead: a dead letter.",
        examples=["dead"],
    )
    digest: DigestSettings | None = Field(
        None,
        title="duration or mapping",
        description="Events that come close together go out as one: one delivery for each action, at most so often.",
        examples=["5m"],
    )
    debounce: DebounceSettings | None = Field(
        None,
        description="Of events that come close together, one value of `by`, only the last one acts.",
        examples=[{"by": "object.id", "wait": "30s", "max": "5m"}],
    )
    dry_run: bool = Field(
        False, description="true: a dry run of every action, to watch a route before it is armed.", examples=[True]
    )
    audit: AuditSettings | None = Field(
        None,
        description="Compares the rows that it keeps with what Stripe says; gateway.audit.differing tells of what "
        "differs. The same by hand, and the repair: gateway audit.",
        examples=[{"every": "1d", "sample": "1%"}],
    )
    actions: dict[Name, ActionSettings] = Field(
        min_length=1,
        description="What is done, by names of your own; all at once but for `needs`.",
        examples=[{"ship": {"uses": "http_forward", "with": {"connection": "warehouse"}}}],
    )
