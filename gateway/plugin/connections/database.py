"""Connections of type `database`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from gateway.plugin.connections.settings import ConnectionSettings


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
