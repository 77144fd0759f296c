"""The typed model of gateway.yaml. Descriptions here become the editor's hover texts and the documentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from gateway.config.schema.alerts import AlertSettings, DigestSettings
from gateway.config.schema.section import Section
from gateway.config.schema.types import ApiVersion, AskedConnected, ConnectedId, Expand, WantedConnected
from gateway.core.client_address import Network, parse_network
from gateway.core.model import STRIPE_KEEPS_SECONDS, RejectedBounds, RetryPolicy
from gateway.plugin import Duration, Name, Rate, Size, Url
from gateway.privacy.redaction import parse_path
from gateway.store.encryption.keyring import decode_key

MAX_TIMEOUT_SECONDS = 600.0  # contract, section 8: an attempt ends after at most 10m


def _listen(value: object) -> object:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ValueError("expected host:port, such as 127.0.0.1:8080")
    return value


Listen = Annotated[
    str,
    BeforeValidator(_listen),
    WithJsonSchema({"title": "host:port", "type": "string", "pattern": r":\d+$", "examples": ["127.0.0.1:8080"]}),
]
"""host:port; an IPv6 host stands in brackets."""


def split_listen(listen: str) -> tuple[str, int]:
    """Host (without brackets) and port of a checked `listen`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


class TlsSettings(Section):
    """TLS on the public listener itself, where no proxy ends it in front."""

    cert: str = Field(description="File with the certificate chain, PEM.", examples=["config/tls/fullchain.pem"])
    key: str = Field(description="File with the private key, PEM.", examples=["config/tls/privkey.pem"])


STRIPE = "stripe"  # in allowed_ips: the addresses that Stripe publishes


def _allowed_ip(value: object) -> Network | str:
    try:
        return STRIPE if value == STRIPE else parse_network(value)
    except ValueError:
        raise ValueError("expected stripe, an address or a network such as 10.1.0.0/16") from None


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_NETWORK = {"type": "string", "title": "address or network", "examples": ["10.1.0.0/16"]}
_ALLOWED = {"type": "string", "title": "stripe, address or network", "examples": [STRIPE, "10.1.0.0/16"]}
NetworkText = Annotated[Network, PlainValidator(parse_network), WithJsonSchema(_NETWORK)]
AllowedIp = Annotated[Network | str, PlainValidator(_allowed_ip)]
AllowedIps = Annotated[
    list[AllowedIp],
    BeforeValidator(_as_list),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [_ALLOWED, {"type": "array", "items": _ALLOWED, "minItems": 1}]}),
]


LONGEST_SHUTDOWN_DELAY = 300.0


def _shutdown_delay(value: float) -> float:
    if value > LONGEST_SHUTDOWN_DELAY:
        raise ValueError("expected at most 5m")
    return value


class ServerSettings(Section):
    """Where Stripe posts."""

    listen: Listen = Field(
        "127.0.0.1:8080", description="Address of the public listener; [::]:8080 for IPv6.", examples=["0.0.0.0:8080"]
    )
    public_url: Url | None = Field(
        None,
        description="Where Stripe reaches it; for `gateway endpoints`.",
        examples=["https://hooks.acme.example"],
    )
    max_body: Size = Field(1024 * 1024, description="Larger requests are refused with 413.", examples=["512KiB"])
    tls: TlsSettings | None = Field(None, description="Only where no proxy ends TLS in front.")
    allowed_ips: AllowedIps | None = Field(
        None,
        description="Who may post: stripe (the addresses in stripe_ips), or a list of networks, with stripe in it or "
        "not. Others are answered 403.",
        examples=[STRIPE, [STRIPE, "10.1.0.0/16"]],
    )
    stripe_ips: str = Field(
        "data/stripe-ips.json",
        description="The file with Stripe's addresses; gateway stripe-ips refresh writes it.",
        examples=["config/stripe-ips.json"],
    )
    trusted_proxies: list[NetworkText] = Field(
        default_factory=list,
        description="Proxies in front that are believed in X-Forwarded-For: addresses or networks.",
        examples=[["127.0.0.1", "10.1.0.0/16"]],
    )
    shutdown_delay: Annotated[Duration, AfterValidator(_shutdown_delay)] = Field(
        0.0,
        description="After SIGTERM /readyz says 503 for so long, and everything is still answered: time for what is in "
        "front to send elsewhere. At most 5m.",
        examples=["10s"],
    )


class AdminSettings(Section):
    """Console, API and metrics: never on the public listener."""

    listen: Listen = Field("127.0.0.1:8081", description="Address of the admin listener.", examples=["10.0.0.5:8081"])
    token: SecretStr = Field(
        SecretStr(""),
        description="Empty: loopback only, with a one-time token printed at start.",
        examples=["${GATEWAY_ADMIN_TOKEN:-}"],
    )
    viewer_token: SecretStr = Field(
        SecretStr(""),
        description="Signs people in who may see everything, change nothing.",
        examples=["${GATEWAY_VIEWER_TOKEN:-}"],
    )
    metrics_public: bool = Field(False, description="true: /metrics answers without the token.", examples=[True])


def _store_keys(value: object) -> object:
    """One key stands for a list of it; an empty one, such as an unset variable with an empty default, for none."""
    if not isinstance(value, list):
        value = [value]
    return [one for one in value if one != ""]


def _store_key(value: SecretStr) -> SecretStr:
    decode_key(value.get_secret_value())
    return value


_KEY = {"type": "string", "format": "password", "writeOnly": True}
StoreKeys = Annotated[
    list[Annotated[SecretStr, AfterValidator(_store_key)]],
    BeforeValidator(_store_keys),
    WithJsonSchema({"anyOf": [_KEY, {"type": "array", "items": _KEY}]}),
]


class StoreSettings(Section):
    """Where the inbox is kept."""

    url: SecretStr = Field(
        SecretStr("sqlite:///data/gateway.db"),
        description="sqlite:///relative.db, sqlite:////absolute.db, or postgresql://... (shared by many gateways).",
        examples=["sqlite:///data/gateway.db", "postgresql://gateway:${DB_PASSWORD}@db.internal/gateway"],
    )
    retention: Duration = Field(
        90 * 86400.0,
        description="Finished events older than this are purged; their ids are known for 45d at least.",
        examples=["180d"],
    )
    dead_retention: Duration | None = Field(
        None,
        description="Dead letters older than this are purged too. Left out: kept until a person resolves them.",
        examples=["365d"],
    )
    encrypt: StoreKeys = Field(
        default_factory=list,
        description="Keys that encrypt stored bodies: the first encrypts, all decrypt. Each is 32 random bytes in "
        "base64, as openssl rand -base64 32 makes them. Needs the extra `encrypt`.",
        examples=["${file:/run/secrets/store-key}", ["${STORE_KEY}", "${OLD_STORE_KEY}"]],
    )

    def keys(self) -> tuple[str, ...]:
        """The keys as plain texts."""
        return tuple(key.get_secret_value() for key in self.encrypt)


class RetrySettings(Section):
    """When failed deliveries run again. Keys left out keep the default's value."""

    attempts: int = Field(20, ge=1, le=1000, description="Runs in all, the first included.", examples=[50])
    first: Duration = Field(5.0, description="Wait before the second run.", examples=["10s"])
    factor: float = Field(4.0, ge=1, le=100, description="Each wait is so many times the one before.", examples=[2])
    max: Duration = Field(21600.0, description="No wait is longer, whatever Retry-After says.", examples=["1h"])

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

    timeout: Timeout = Field(30.0, description="An attempt ends after so long; at most 10m.", examples=["20s"])
    retry: RetrySettings = Field(
        default_factory=RetrySettings,
        description="When failed deliveries run again. The defaults span 3.3 days: a weekend.",
    )


MOST_REJECTED = 10_000
OLDEST_REJECTED_SECONDS = 30 * 86400.0  # event ids are remembered for 45 days: none is ever verified after that


def _rejected_age(value: float) -> float:
    if value > OLDEST_REJECTED_SECONDS:
        raise ValueError("expected at most 30d, because a duplicate must still be known as such")
    return value


class RejectedSettings(Section):
    """How much is kept of requests that were refused. 0 requests: nothing is."""

    max_requests: int = Field(1000, ge=0, le=MOST_REJECTED, description="At most so many.", examples=[200])
    max_size: Size = Field(32 * 1024 * 1024, description="At most so much, together.", examples=["8MiB"])
    max_age: Annotated[Duration, AfterValidator(_rejected_age)] = Field(
        7 * 86400.0, description="None older than this; at most 30d.", examples=["3d"]
    )

    def bounds(self) -> RejectedBounds:
        """The same as a plain record."""
        return RejectedBounds(self.max_requests, self.max_size, self.max_age)


class LogSettings(Section):
    """What the log shows, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="The least that is shown. Payloads and secrets are never shown, whatever the level.",
        examples=["warning"],
    )
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else json.", examples=["json"]
    )


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


def _every(value: float) -> float:
    if value < 1:
        raise ValueError("at least 1s: Stripe counts requests")
    return value


def _look_back(value: float) -> float:
    if not 0 < value <= STRIPE_KEEPS_SECONDS:
        raise ValueError("more than 0 and at most 30d: Stripe keeps events for 30 days")
    return value


class ReconcileSettings(Section):
    """Asks Stripe for events that did not arrive: when the gateway starts, and again and again."""

    every: Annotated[Duration, AfterValidator(_every)] = Field(
        600.0, description="How often, at least 1s.", examples=["1h"]
    )
    look_back: Annotated[Duration, AfterValidator(_look_back)] = Field(
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


class ReloadSettings(Section):
    """How the running gateway takes a changed configuration."""

    watch: bool = Field(
        True, description="Reload by itself when a file of the configuration changes.", examples=[False]
    )
    socket: str = Field(
        "data/gateway.sock",
        min_length=1,
        description="Where `gateway reload` and `gateway diff` reach the gateway.",
        examples=["/run/gateway/gateway.sock"],
    )


def _traces_endpoint(value: str) -> str:
    scheme, _, rest = value.partition("://")
    host, _, path = rest.partition("/")
    return value if path else f"{scheme}://{host}/v1/traces"


class TracingSettings(Section):
    """Traces of events, from Stripe's request to what was sent, by OpenTelemetry. Needs the extra `otel`."""

    endpoint: Annotated[Url, AfterValidator(_traces_endpoint)] = Field(
        description="A collector that takes OTLP over HTTP. Without a path it is /v1/traces.",
        examples=["http://localhost:4318"],
    )
    service: str = Field(
        "stripe-fulfilment-gateway",
        min_length=1,
        description="What the gateway is called in traces: service.name.",
        examples=["gateway-eu"],
    )
    ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="The share of events that are traced, where no proxy in front has decided it.",
        examples=[0.1],
    )
    headers: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Sent with every export.",
        examples=[{"Authorization": "Bearer ${COLLECTOR_TOKEN}"}],
    )
    timeout: Timeout = Field(10.0, description="How long one export may take, its repeats included.", examples=["5s"])


def _redacted(value: str) -> str:
    parse_path(value)
    return value


RedactedField = Annotated[
    str,
    AfterValidator(_redacted),
    WithJsonSchema(
        {"title": "path", "type": "string", "pattern": r"^(data|\*\*|changes|related_object)(\.[A-Za-z0-9_*-]+)*$"}
    ),
]


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
    redact: list[RedactedField] = Field(
        default_factory=list,
        description="Fields of events that nobody is shown: not in the console, the API, the command line or the log. "
        "`*` is any one name, `**` any number of them. Templates and actions get the true values.",
        examples=[["data.object.customer_details", "data.object.**.email"]],
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

    @model_validator(mode="before")
    @classmethod
    def _from_bool(cls, given: Any) -> Any:
        return {"wanted": given} if isinstance(given, bool) else given

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, handler.resolve_ref_schema(handler(schema))]}


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
    needs: list[Name] = Field(
        default_factory=list, description="Actions of this route that must succeed first.", examples=[["save"]]
    )
    if_: str | bool | None = Field(
        None,
        alias="if",
        title="expression",
        description="Judged when the delivery runs, with the output of what it needs; false: the action is skipped.",
        examples=["object.amount_total >= 100000"],
    )
    retry: RetrySettings | None = Field(None, description="Instead of defaults.retry, key by key.")
    timeout: Timeout | None = Field(None, description="Instead of defaults.timeout.", examples=["2m"])
    dry_run: bool = Field(
        False, description="true: everything happens but the sending; what would go out is kept.", examples=[True]
    )


class RouteSettings(Section):
    """Which events, on which condition, lead to which actions."""

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
    digest: DigestSettings | None = Field(
        None,
        title="duration or mapping",
        description="Events that come close together go out as one: one delivery for each action, at most so often.",
        examples=["5m"],
    )
    dry_run: bool = Field(
        False, description="true: a dry run of every action, to watch a route before it is armed.", examples=[True]
    )
    actions: dict[Name, ActionSettings] = Field(
        min_length=1,
        description="What is done, by names of your own; all at once but for `needs`.",
        examples=[{"ship": {"uses": "http_forward", "with": {"connection": "warehouse"}}}],
    )


class GatewaySettings(Section):
    """What the gateway does: where it listens, whom it trusts, and what is to happen for which events."""

    # `connections` and each action's `with` are checked against the types that plugins bring

    version: Literal[1] = Field(description="The version of this file's format.", examples=[1])
    include: list[str] = Field(
        default_factory=list,
        description="Further files or globs: accounts, connections, routes, vars.",
        examples=[["config/routes/*.yaml"]],
    )
    plugins: list[str] = Field(
        default_factory=list, description="Folders with action plugins, *.py.", examples=[["config/plugins"]]
    )
    vars: dict[str, Any] = Field(
        default_factory=dict, description="Constants for templates: vars.NAME.", examples=[{"big_order": 100000}]
    )
    log: LogSettings = Field(default_factory=LogSettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    admin: AdminSettings = Field(default_factory=AdminSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    reload: ReloadSettings = Field(default_factory=ReloadSettings)
    rejected: RejectedSettings = Field(default_factory=RejectedSettings)
    tracing: TracingSettings | None = Field(None, description="Left out: nothing is traced.")
    defaults: Defaults = Field(default_factory=Defaults)
    stripe: StripeSettings = Field(default_factory=StripeSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    accounts: dict[Name, AccountSettings] = Field(
        min_length=1, description="Stripe accounts, by names of your own. Stripe posts to /webhooks/NAME."
    )
    connections: dict[Name, dict[str, Any]] = Field(
        default_factory=dict, description="Outside systems, by names of your own: address, credentials, limits."
    )
    routes: dict[Name, RouteSettings] = Field(
        default_factory=dict, description="What is to happen for which events, by names of your own."
    )
