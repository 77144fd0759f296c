"""The settings of the four types of connection: address, credentials, limits."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from gateway.plugin.types import Duration, Rate, Url, check_url


class BreakerSettings(BaseModel):
    """When a connection that fails is paused. Its backlog is kept meanwhile, and is charged no attempts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failures: int = Field(5, ge=1, le=1000, description="So many failures in a row pause it.", examples=[3])
    pause: Duration = Field(
        30.0,
        description="The first pause; then one delivery probes. Each next is twice as long.",
        examples=["1m"],
    )
    max: Duration = Field(600.0, description="No pause is longer.", examples=["1h"])


def _breaker(value: Any) -> Any:
    return None if value is False else {} if value is True else value


class ConnectionSettings(BaseModel):
    """What every connection has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    rate: Rate | None = Field(
        None,
        description="At most so many attempts in a time, by all gateways on one store together. Left out: no limit.",
    )
    concurrency: int = Field(
        8, ge=1, le=1000, description="At most so many attempts at once, of each gateway.", examples=[4]
    )
    breaker: Annotated[
        BreakerSettings | None, BeforeValidator(_breaker, json_schema_input_type=BreakerSettings | bool)
    ] = Field(default_factory=BreakerSettings, description="When failures in a row pause it; false: never.")


class DatabaseConnection(ConnectionSettings):
    """A database: SQLite, PostgreSQL, MySQL or MariaDB."""

    SCHEMES: ClassVar[tuple[str, ...]] = ("sqlite", "postgresql", "postgres", "mysql", "mariadb")

    type: Literal["database"]
    url: SecretStr = Field(
        description="sqlite:///relative.db, sqlite:////absolute.db, postgresql://user:password@host/db, mysql://...",
        examples=["${SHOP_DATABASE_URL:-sqlite:///data/shop.db}"],
    )

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: SecretStr) -> SecretStr:
        scheme, _, rest = value.get_secret_value().partition("://")
        if scheme not in cls.SCHEMES or not rest:
            raise ValueError("expected a URL that begins with sqlite:///, postgresql:// or mysql://")
        if scheme == "sqlite":
            path, _, query = rest.partition("?")
            name = path.removeprefix("/")
            if not path.startswith("/") or not name or name == ":memory:" or "mode=memory" in query:
                raise ValueError(
                    "names no file, and what is written to memory is lost: "
                    "write sqlite:///relative.db or sqlite:////absolute.db"
                )
        return value


class SmtpConnection(ConnectionSettings):
    """A mail server."""

    type: Literal["smtp"]
    host: str = Field(min_length=1, description="The server's name or address.", examples=["smtp.example.com"])
    port: int = Field(587, ge=1, le=65535, description="587 for starttls, 465 for implicit.", examples=[465])
    tls: Literal["starttls", "implicit", "none"] = Field(
        "starttls",
        description="starttls (port 587), implicit (port 465), or none (a catcher or a local relay).",
        examples=["implicit"],
    )
    username: str = Field("", description="Empty: no login.", examples=["gateway"])
    password: SecretStr = Field(SecretStr(""), description="For the login.", examples=["${SMTP_PASSWORD}"])
    from_: str = Field(
        alias="from", min_length=3, description="The sender of every mail.", examples=["Acme <orders@acme.example>"]
    )
    ca_file: str | None = Field(
        None, description="Certificates to trust instead of the system's, PEM.", examples=["config/tls/ca.pem"]
    )
    concurrency: int = Field(2, ge=1, le=100, description="Connections kept open at most.", examples=[4])


class HttpConnection(ConnectionSettings):
    """A service that takes forwards."""

    type: Literal["http"]
    url: Url = Field(description="Where forwards go.", examples=["https://warehouse.example/hooks"])
    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE"] = Field(
        "POST", description="How forwards are sent.", examples=["PUT"]
    )
    headers: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Sent with every forward.",
        examples=[{"Authorization": "Bearer ${WAREHOUSE_TOKEN}"}],
    )
    signing_secret: SecretStr | list[SecretStr] = Field(
        default=SecretStr(""),
        description="One secret, or two while it is being rolled: [new, old].",
        examples=["${WAREHOUSE_SECRET}"],
    )
    signature: Literal["standard", "stripe", "none"] | None = Field(
        None,
        description="How forwards are signed. Left out: standard where there is a signing_secret, else none.",
        examples=["stripe"],
    )
    allow_private: bool | list[IPv4Network | IPv6Network] = Field(
        False,
        title="true, false or list of networks",
        description="true, or the private networks that may be reached. Link-local and metadata addresses never are.",
        examples=[["10.1.0.0/16"]],
    )

    @field_validator("signature")
    @classmethod
    def _needs_secret(cls, value: str | None, info: ValidationInfo) -> str | None:
        is_sound = "signing_secret" in info.data  # else that is told instead
        if value in ("standard", "stripe") and is_sound and not secrets_of(info.data["signing_secret"]):
            raise ValueError(f"signature: {value} needs a signing_secret")
        return value

    @property
    def secrets(self) -> tuple[str, ...]:
        """The signing secrets in force, newest first; empty where forwards are not signed."""
        return secrets_of(self.signing_secret)

    @property
    def scheme(self) -> Literal["standard", "stripe", "none"]:
        """How forwards are signed."""
        return self.signature or ("standard" if self.secrets else "none")


class SlackConnection(ConnectionSettings):
    """A Slack workspace: an incoming webhook, or a bot token."""

    type: Literal["slack"]
    webhook_url: SecretStr = Field(
        SecretStr(""),
        description="An incoming webhook, which has a channel of its own.",
        examples=["${SLACK_WEBHOOK_URL}"],
    )
    token: SecretStr = Field(
        SecretStr(""),
        description="A bot token with the scope chat:write, instead of a webhook.",
        examples=["${SLACK_BOT_TOKEN}"],
    )
    channel: str = Field("", description="Where a bot posts, unless the action says otherwise.", examples=["#orders"])
    api_url: Url = Field(
        "https://slack.com/api", description="Where the Web API answers.", examples=["https://slack-gov.com/api"]
    )

    @field_validator("webhook_url")
    @classmethod
    def _webhook(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            check_url(value.get_secret_value())
        return value


def secrets_of(value: SecretStr | list[SecretStr] | None) -> tuple[str, ...]:
    """The non-empty secrets among one or several."""
    several = value if isinstance(value, list) else [value] if value is not None else []
    return tuple(text for secret in several if (text := secret.get_secret_value()))
