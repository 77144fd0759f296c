"""What is kept, where, and for how long."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from gateway.config.schema.types import Section, StoreKeys, within
from gateway.core.model import RejectedBounds
from gateway.core.url_credentials import with_password
from gateway.plugin import Duration, Size, url_fault

MOST_REJECTED = 10_000
OLDEST_REJECTED_SECONDS = 30 * 86400.0  # event ids are remembered for 45 days: none is ever verified after that
_RejectedAge = within(
    "expected at most 30d, because a duplicate must still be known as such", most=OLDEST_REJECTED_SECONDS
)


class StoreSettings(Section):
    """Where the inbox is kept."""

    url: SecretStr = Field(
        SecretStr("sqlite:///data/gateway.db"),
        description="sqlite:///relative.db, sqlite:////absolute.db, or postgresql://... (shared by many gateways).",
        examples=["sqlite:///data/gateway.db", "postgresql://gateway@db.internal/gateway"],
    )
    password: SecretStr = Field(
        SecretStr(""),
        description="For PostgreSQL, as it is: nothing in it is percent-encoded. It may stand in `url` instead.",
        examples=["${DB_PASSWORD}"],
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
    compress: bool = Field(
        True,
        description="Bodies, rendered values, outputs and fetched objects are stored compressed. false: new ones are "
        "not, so that a program of version 0.1 can read them.",
        examples=[False],
    )

    exchanges: Literal["failed", "all", "none"] = Field(
        "failed",
        description="Of which attempts it is kept what was sent and what came back, as a delivery's page shows it: "
        "address, headers, and the first 2,000 characters of each body.",
        examples=["all"],
    )

    @field_validator("url")
    @classmethod
    def _means_what_it_seems(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if not url.startswith("sqlite:") and (fault := url_fault(url)) is not None:
            raise ValueError(f"{fault}; or give the password as it is, as password: beside url")
        return value

    @field_validator("password")
    @classmethod
    def _has_a_login(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if not value.get_secret_value() or "url" not in info.data:
            return value
        url = info.data["url"].get_secret_value()
        if url.startswith("sqlite:"):
            raise ValueError("is nothing that a file of SQLite has: leave it out")
        login, at, _ = url.partition("://")[2].partition("/")[0].rpartition("@")
        if ":" in login:
            raise ValueError("stands in url too: leave it out in one of the two places")
        if not at or not login:
            raise ValueError("url names no user that it would be of: postgresql://USER@host/database")
        return value

    def address(self) -> str:
        """The URL with the password in it: a secret."""
        return with_password(self.url.get_secret_value(), self.password.get_secret_value())

    def keys(self) -> tuple[str, ...]:
        """The keys as plain texts."""
        return tuple(key.get_secret_value() for key in self.encrypt)


class RejectedSettings(Section):
    """How much is kept of requests that were refused. 0 requests: nothing is."""

    max_requests: int = Field(1000, ge=0, le=MOST_REJECTED, description="At most so many.", examples=[200])
    max_size: Size = Field(32 * 1024 * 1024, description="At most so much, together.", examples=["8MiB"])
    max_age: Annotated[Duration, _RejectedAge] = Field(
        7 * 86400.0, description="None older than this; at most 30d.", examples=["3d"]
    )

    def bounds(self) -> RejectedBounds:
        """The same as a plain record."""
        return RejectedBounds(self.max_requests, self.max_size, self.max_age)
