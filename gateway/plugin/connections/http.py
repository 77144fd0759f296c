"""Connections of type `http`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from gateway.plugin.action import Fault
from gateway.plugin.connections.reach import AllowPrivate
from gateway.plugin.connections.web import SecretHeaders, WebConnection
from gateway.plugin.types import Size, Status, Url

STANDARD_PREFIX = "whsec_"


class OAuth2Settings(BaseModel):
    """Access tokens by client credentials, or by a refresh token (RFC 6749, sections 4.4 and 6)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_url: Url = Field(
        description="The token endpoint. What allow_private, proxy, ca_file and tls say holds for it too.",
        examples=["https://auth.warehouse.example/oauth2/token"],
    )
    client_id: str = Field(
        min_length=1, description="As the authorization server knows the gateway.", examples=["stripe-gateway"]
    )
    client_secret: SecretStr = Field(
        SecretStr(""),
        description="Left out where tls alone says who asks (RFC 8705).",
        examples=["${WAREHOUSE_CLIENT_SECRET}"],
    )
    refresh_token: SecretStr = Field(
        SecretStr(""),
        description="Where a person has allowed it once. Left out: client credentials alone.",
        examples=["${MAIL_REFRESH_TOKEN}"],
    )
    scope: str = Field("", description="What is asked for, by blanks.", examples=["orders:write stock:read"])
    client_auth: Literal["basic", "body"] = Field(
        "basic",
        description="How id and secret are sent: in the Authorization header or in the body (RFC 6749, section 2.3.1).",
        examples=["body"],
    )
    parameters: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="What else the endpoint wants to be told.",
        examples=[{"audience": "https://api.warehouse.example"}],
    )


class HttpConnection(WebConnection):
    """A service that takes forwards."""

    type: Literal["http"]
    url: Url = Field(
        description="Where forwards go. A path or URL in an action goes on from here, path and query kept.",
        examples=["https://warehouse.example/hooks"],
    )
    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE"] = Field(
        "POST", description="How forwards are sent.", examples=["PUT"]
    )
    headers: SecretHeaders = Field(
        default_factory=dict,
        description="Sent with every forward.",
        examples=[{"Authorization": "Bearer ${WAREHOUSE_TOKEN}"}],
    )
    signing_secret: SecretStr | list[SecretStr] = Field(
        default=SecretStr(""),
        description="One secret, or two while it is being rolled: [new, old]. For signature: standard, whsec_ and then "
        "base64.",
        examples=["${WAREHOUSE_SECRET}"],
    )
    signature: Literal["standard", "stripe", "none"] | None = Field(
        None,
        description="How forwards are signed. Left out: standard where there is a signing_secret, else none.",
        examples=["stripe"],
    )
    oauth2: OAuth2Settings | None = Field(None, description="Access tokens for the service, by client credentials.")
    success: list[Status] = Field(
        ["200-299"], min_length=1, description="Answers that are successes.", examples=[["200-299", 409]]
    )
    retry_on: list[Status] = Field(
        default_factory=list,
        description="Answers after which it is tried again, besides 408, 409, 425, 429 and 500-599.",
        examples=[[404, 423]],
    )
    max_answer: Size = Field(
        64 * 1024, ge=1024, le=8 * 1024 * 1024, description="So much of an answer is read. At most 8MiB.",
        examples=["1MiB"],
    )  # fmt: skip
    allow_private: AllowPrivate = False

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

    @property
    def reachable(self) -> bool | list[IPv4Network | IPv6Network]:
        """As `allow_private` says."""
        return self.allow_private

    def addresses(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Besides the proxy, the service and its token endpoint."""
        yield ("url",), self.url
        yield from super().addresses()
        if self.oauth2 is not None:
            yield ("oauth2", "token_url"), self.oauth2.token_url

    def faults(self, folder: Path) -> Iterable[Fault]:
        """What can never be signed, or says twice who asks."""
        yield from super().faults(folder)
        if self.scheme == "standard" and not all(map(is_standard_secret, self.secrets)):
            message = "is no secret of Standard Webhooks: whsec_ and then base64, or base64 alone"
            yield Fault(("signing_secret",), message, "printf whsec_; openssl rand -base64 32; or signature: stripe")
        ways = ["headers"] if "authorization" in map(str.lower, self.headers) else []
        ways += ["oauth2"] if self.oauth2 is not None else []
        ways += ["url"] if "@" in urlsplit(self.url).netloc else []
        if len(ways) > 1:
            message = f"{' and '.join(ways)} each bring an Authorization header: only one can be sent"
            yield Fault((ways[1],), message, "leave out all but one")


def is_standard_secret(secret: str) -> bool:
    """Whether it is one of Standard Webhooks: base64, with or without its prefix and padding."""
    text = secret.removeprefix(STANDARD_PREFIX).rstrip("=")
    try:
        return bool(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (binascii.Error, ValueError):
        return False


def secrets_of(value: SecretStr | list[SecretStr] | None) -> tuple[str, ...]:
    """The non-empty secrets among one or several."""
    several = value if isinstance(value, list) else [value] if value is not None else []
    return tuple(text for secret in several if (text := secret.get_secret_value()))
