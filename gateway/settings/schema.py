"""The typed model of gateway.yaml. Descriptions here become the editor's hover texts and the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from gateway.model import RetryPolicy
from gateway.plugin import Duration, Name, Rate, Size, Url

MAX_TIMEOUT_SECONDS = 600.0  # contract, section 8: an attempt ends after at most 10m


class Section(BaseModel):
    """The base of every part: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _listen(value: object) -> object:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ValueError("expected host:port, such as 127.0.0.1:8080")
    return value


Listen = Annotated[str, BeforeValidator(_listen)]
"""host:port; an IPv6 host stands in brackets."""


def split_listen(listen: str) -> tuple[str, int]:
    """Host (without brackets) and port of a checked `listen`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


class TlsSettings(Section):
    """TLS on the public listener itself, where no proxy ends it in front."""

    cert: str = Field(description="File with the certificate chain, PEM.")
    key: str = Field(description="File with the private key, PEM.")


class ServerSettings(Section):
    """Where Stripe posts."""

    listen: Listen = Field("127.0.0.1:8080", description="Address of the public listener, host:port.")
    max_body: Size = Field(1024 * 1024, description="Larger requests are refused with 413.")
    tls: TlsSettings | None = Field(None, description="Only where no proxy ends TLS in front.")


class AdminSettings(Section):
    """Console, API and metrics: never on the public listener."""

    listen: Listen = Field("127.0.0.1:8081", description="Address of the admin listener, host:port.")
    token: SecretStr = Field(SecretStr(""), description="Empty: loopback only, with a one-time token printed at start.")
    metrics_public: bool = Field(False, description="true: /metrics answers without the token.")


class StoreSettings(Section):
    """Where the inbox is kept."""

    url: SecretStr = Field(
        SecretStr("sqlite:///data/gateway.db"),
        description="sqlite:///relative.db, sqlite:////absolute.db, or postgresql://... (shared by many gateways).",
    )
    retention: Duration = Field(90 * 86400.0, description="Finished events older than this are purged.")


class RetrySettings(Section):
    """When failed deliveries run again. Keys left out keep the default's value."""

    attempts: int = Field(20, ge=1, le=1000, description="Runs in all, the first included.")
    first: Duration = Field(5.0, description="Wait before the second run.")
    factor: float = Field(4.0, ge=1, le=100, description="Each wait is so many times the one before.")
    max: Duration = Field(21600.0, description="No wait is longer, whatever Retry-After says.")

    def policy(self) -> RetryPolicy:
        """The same as a plain record."""
        return RetryPolicy(self.attempts, self.first, self.factor, self.max)


def _timeout(value: float) -> float:
    if not 0 < value <= MAX_TIMEOUT_SECONDS:
        raise ValueError("a timeout is more than 0 and at most 10m")
    return value


Timeout = Annotated[Duration, AfterValidator(_timeout)]


class Defaults(Section):
    """What holds for every action that does not say otherwise."""

    timeout: Timeout = Field(30.0, description="An attempt ends after so long; at most 10m.")
    retry: RetrySettings = Field(default_factory=RetrySettings)


class LogSettings(Section):
    """What the log shows, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else json.")


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


@dataclass(frozen=True, slots=True)
class _Form:
    """Marks text of a form, with an error that says which."""

    pattern: str
    expected: str

    def check(self, value: str) -> str:
        """The same. Raises ValueError."""
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"expected {self.expected}, found text {value[:60]!r}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^({self.pattern})$"}


ApiVersion = Annotated[
    str, _Form(r"\d{4}-\d{2}-\d{2}(\.[a-z_]+)?", "a version of Stripe's API, such as 2026-10-28.endive")
]
ConnectedId = Annotated[str, _Form("acct_[A-Za-z0-9]+", "the id of a connected account, such as acct_1Sb9KxQ4mTz7Yp2L")]
WantedConnected = Annotated[
    str, _Form(r"acct_[A-Za-z0-9]+|\*|none", 'the id of a connected account (acct_...), "*" or none')
]
Expand = Annotated[
    str,
    _Form(r"[a-z]\w*(\.[a-z]\w*){0,3}", "a field to expand, at most four deep, such as line_items.data.price"),
]


class ConnectedAccountSettings(Section):
    """What is known of one connected account."""

    vars: dict[str, Any] = Field(
        default_factory=dict, description="Constants for templates: connected_account.vars.NAME."
    )


class AccountSettings(Section):
    """One Stripe account."""

    signing_secrets: list[SecretStr] = Field(
        min_length=1, description="The whsec_... of its webhook endpoints; several while one is being rolled."
    )
    api_key: SecretStr = Field(SecretStr(""), description="Only for fetch, backfill and endpoint checks.")
    livemode: bool | Literal["any"] = Field("any", description="true or false: events of the other mode are ignored.")
    tolerance: Duration = Field(300.0, description="How old a signature may be.")
    vars: dict[str, Any] = Field(default_factory=dict, description="Constants for templates: account.vars.NAME.")
    api_version: ApiVersion | None = Field(
        None, description="What the templates were written for: events of another version are flagged."
    )
    api_rate: Rate | None = Field(
        None,
        description="At most so many requests to Stripe's API. Default: 100/s with a live key, 25/s with a test key.",
    )
    connected_accounts: dict[ConnectedId, ConnectedAccountSettings] = Field(
        default_factory=dict, description="What is known of connected accounts, by id."
    )


class FetchSettings(Section):
    """Asks Stripe for the object as it is when the delivery runs. true: with nothing expanded; false: not at all."""

    wanted: bool = Field(True, description="false: the same as `fetch: false`.")
    expand: list[Expand] = Field(
        default_factory=list,
        description="Fields to expand, such as line_items: https://docs.stripe.com/api/expanding_objects",
    )
    api_version: ApiVersion | None = Field(None, description="Instead of the account's or the event's.")
    again: bool = Field(False, description="Ask at every attempt, instead of once for all actions of an event.")

    @model_validator(mode="before")
    @classmethod
    def _from_bool(cls, given: Any) -> Any:
        return {"wanted": given} if isinstance(given, bool) else given

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, handler.resolve_ref_schema(handler(schema))]}


class ActionSettings(Section):
    """One named use of an action inside a route."""

    uses: str = Field(description="The action: db_upsert, email, http_forward, slack, or a plugin's name.")
    with_: dict[str, Any] = Field(default_factory=dict, alias="with", description="The action's own settings.")
    needs: list[Name] = Field(default_factory=list, description="Actions of this route that must succeed first.")
    if_: str | bool | None = Field(None, alias="if", description="A Jinja expression; false: the action is skipped.")
    retry: RetrySettings | None = Field(None, description="Instead of defaults.retry, key by key.")
    timeout: Timeout | None = Field(None, description="Instead of defaults.timeout.")


class RouteSettings(Section):
    """Which events, on which condition, lead to which actions."""

    accounts: list[Name] | None = Field(None, min_length=1, description="Default: every account.")
    connected_accounts: list[WantedConnected] = Field(
        default_factory=lambda: ["none"],
        min_length=1,
        description='Events of which connected accounts: ids, "*" (every one), none (the account\'s own; the default).',
    )
    events: list[str] = Field(min_length=1, description="Event types, globs allowed: customer.subscription.*")
    if_: str | bool | None = Field(None, alias="if", description="A Jinja expression, judged when the event arrives.")
    fetch: FetchSettings | None = None
    once_per: str | None = Field(None, description="A Jinja expression: the route acts once for each of its values.")
    order_by: str | None = Field(None, description="A Jinja expression: one at a time, in order of arrival, per value.")
    actions: dict[Name, ActionSettings] = Field(min_length=1)


class GatewaySettings(Section):
    """gateway.yaml. `connections` and each action's `with` are checked against the types that plugins bring."""

    version: Literal[1] = Field(description="The version of this file's format.")
    include: list[str] = Field(
        default_factory=list, description="Further files or globs: accounts, connections, routes."
    )
    plugins: list[str] = Field(default_factory=list, description="Folders with action plugins, *.py.")
    vars: dict[str, Any] = Field(default_factory=dict, description="Constants for templates.")
    log: LogSettings = Field(default_factory=LogSettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    admin: AdminSettings = Field(default_factory=AdminSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    defaults: Defaults = Field(default_factory=Defaults)
    stripe: StripeSettings = Field(default_factory=StripeSettings)
    accounts: dict[Name, AccountSettings] = Field(min_length=1)
    connections: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    routes: dict[Name, RouteSettings] = Field(default_factory=dict)
