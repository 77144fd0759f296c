"""The typed model of gateway.yaml. Descriptions here become the editor's hover texts and the documentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from gateway.model import RetryPolicy
from gateway.plugin import Duration, Name, Size

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
    viewer_token: SecretStr = Field(
        SecretStr(""), description="Signs people in who may see everything, change nothing."
    )
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


class AccountSettings(Section):
    """One Stripe account."""

    signing_secrets: list[SecretStr] = Field(
        min_length=1, description="The whsec_... of its webhook endpoints; several while one is being rolled."
    )
    api_key: SecretStr = Field(SecretStr(""), description="Only for fetch, backfill and endpoint checks.")
    livemode: bool | Literal["any"] = Field("any", description="true or false: events of the other mode are ignored.")
    tolerance: Duration = Field(300.0, description="How old a signature may be.")
    vars: dict[str, Any] = Field(default_factory=dict, description="Constants for templates: account.vars.NAME.")


class FetchSettings(Section):
    """Asks Stripe for the object as it is when the delivery runs."""

    expand: list[str] = Field(default_factory=list, description="Fields to expand, such as line_items.")


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
    accounts: dict[Name, AccountSettings] = Field(min_length=1)
    connections: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    routes: dict[Name, RouteSettings] = Field(default_factory=dict)
