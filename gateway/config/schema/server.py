"""The process itself: where it listens and to whom, what it logs and traces, how it takes a new configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from gateway.config.schema.types import STRIPE, AllowedIps, Listen, NetworkText, Section, Timeout, within
from gateway.plugin import Duration, Size, Url

LONGEST_SHUTDOWN_DELAY = 300.0


class TlsSettings(Section):
    """TLS on the public listener itself, where no proxy ends it in front."""

    cert: str = Field(description="File with the certificate chain, PEM.", examples=["config/tls/fullchain.pem"])
    key: str = Field(description="File with the private key, PEM.", examples=["config/tls/privkey.pem"])


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
    shared_path_accounts: int = Field(
        8,
        ge=0,
        le=64,
        description="How many accounts may share POST /webhooks, the path without a name, where a request costs a "
        "hash of its body for each account's secrets. With more accounts it is closed, as with 0, and answers 404; "
        "/webhooks/NAME is always open. At most 64.",
        examples=[0, 20],
    )
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
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="So many processes share the sockets and an inbox on PostgreSQL; `concurrency` is of each. "
        "gateway serve --workers goes before it.",
        examples=[2],
    )
    shutdown_delay: Annotated[Duration, within("expected at most 5m", most=LONGEST_SHUTDOWN_DELAY)] = Field(
        0.0,
        description="After SIGTERM /readyz says 503 for so long, and everything is still answered: time for what is in "
        "front to send elsewhere. At most 5m.",
        examples=["10s"],
    )


class ScopedTokenSettings(Section):
    """A token of a team: it sees and changes the deliveries of some routes, for some accounts, and nothing else."""

    token: SecretStr = Field(description="The token itself.", examples=["${SHOP_TEAM_TOKEN}"])
    accounts: list[str] | None = Field(
        None, min_length=1, description="Of these accounts alone. Without it: of all.", examples=[["acme-eu"]]
    )
    routes: list[str] | None = Field(
        None, min_length=1, description="Of these routes alone. Without it: of all.", examples=[["fulfil"]]
    )
    may: Literal["read", "act"] = Field(
        "read", description="read: sees. act: also retries, cancels, replays, approves.", examples=["act"]
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
    tokens: dict[str, ScopedTokenSettings] = Field(
        default_factory=dict,
        description="Tokens that see a part only, by the team's name.",
        examples=[{"shop-team": {"token": "${SHOP_TEAM_TOKEN}", "routes": ["fulfil"], "may": "act"}}],
    )
    url: Url | None = Field(
        None,
        description="Where people reach the console: the links of `approval.url` begin so.",
        examples=["https://gateway.internal.acme.example"],
    )
    metrics_public: bool = Field(False, description="true: /metrics answers without the token.", examples=[True])


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
