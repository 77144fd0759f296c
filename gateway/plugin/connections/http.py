"""Connections of type `http`."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from gateway.plugin.connections.settings import ConnectionSettings
from gateway.plugin.types import Url


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


def secrets_of(value: SecretStr | list[SecretStr] | None) -> tuple[str, ...]:
    """The non-empty secrets among one or several."""
    several = value if isinstance(value, list) else [value] if value is not None else []
    return tuple(text for secret in several if (text := secret.get_secret_value()))
