"""Connections of type `database`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from gateway.core.url_credentials import url_fault
from gateway.plugin.connections.settings import ConnectionSettings

_BESIDE = ("user", "password", "host", "port", "database")  # keys, each of which may stand in the URL instead
_SOCKET = {"mysql": "unix_socket", "mariadb": "unix_socket"}  # how a URL names a socket's path; PostgreSQL: host


class DatabaseConnection(ConnectionSettings):
    """A database: SQLite, PostgreSQL, MySQL or MariaDB."""

    SCHEMES: ClassVar[tuple[str, ...]] = ("sqlite", "postgresql", "postgres", "mysql", "mariadb")

    type: Literal["database"]
    url: SecretStr = Field(
        description="sqlite:///relative.db, sqlite:////absolute.db, postgresql://user@host/db, mysql://...",
        examples=["${SHOP_DATABASE_URL:-sqlite:///data/shop.db}"],
    )
    user: str = Field("", description="Who logs in, where url does not say.", examples=["gateway"])
    password: SecretStr = Field(
        SecretStr(""),
        description="For the login, as it is: nothing in it is percent-encoded.",
        examples=["${SHOP_DATABASE_PASSWORD}"],
    )
    host: str = Field(
        "",
        description="The server's name, address, or path of its socket, where url does not say.",
        examples=["db.internal"],
        pattern=r"^(/.*|[^@/?#\s]*)$",
    )
    port: int | None = Field(None, ge=1, le=65535, description="Where url does not say.", examples=[6432])
    database: str = Field("", description="The database's name, where url does not say.", examples=["shop"])

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: SecretStr) -> SecretStr:
        scheme, separator, rest = value.get_secret_value().partition("://")
        if scheme not in cls.SCHEMES or not separator:
            raise ValueError("expected a URL that begins with sqlite:///, postgresql:// or mysql://")
        if scheme == "sqlite":
            path, _, query = rest.partition("?")
            name = path.removeprefix("/")
            if not path.startswith("/") or not name or name == ":memory:" or "mode=memory" in query:
                raise ValueError(
                    "names no file, and what is written to memory is lost: "
                    "write sqlite:///relative.db or sqlite:////absolute.db"
                )
        elif (fault := url_fault(value.get_secret_value())) is not None:
            raise ValueError(f"{fault}; or give the password as it is, as password: beside url")
        return value

    @field_validator(*_BESIDE)
    @classmethod
    def _said_once(cls, value: Any, info: ValidationInfo) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not text or "url" not in info.data or info.field_name is None:
            return value
        url = info.data["url"].get_secret_value()
        if url.startswith("sqlite:"):
            raise ValueError("is nothing that a file of SQLite has: leave it out")
        if info.field_name in _said_in(url):
            raise ValueError("stands in url too: leave it out in one of the two places")
        return value

    @model_validator(mode="after")
    def _says_where(self) -> DatabaseConnection:
        if not self.url.get_secret_value().partition("://")[2] and not (self.host or self.database):
            raise ValueError("url says neither host nor database: give them there, or as keys beside it")
        return self

    def address(self) -> str:
        """The URL with what stands beside it in its place, percent-encoded: a secret."""
        url = self.url.get_secret_value()
        password = self.password.get_secret_value()
        if url.startswith("sqlite:") or not (password or self.user or self.host or self.port or self.database):
            return url
        parts = urlsplit(url)
        login, _, servers = parts.netloc.rpartition("@")
        user, _, written = login.partition(":")
        user, password = quote(self.user, safe="") or user, quote(password, safe="") or written
        login = f"{user}:{password}@" if password else f"{user}@" if user else ""
        query = [parts.query] if parts.query else []
        if self.host.startswith("/"):
            query.append(f"{_SOCKET.get(parts.scheme, 'host')}={quote(self.host, safe='/')}")
            query += [f"port={self.port}"] if self.port is not None else []  # the name of the socket's file has it
        else:  # several with commas between, for PostgreSQL
            hosts = [f"[{host}]" if ":" in host else host for host in self.host.split(",")] if self.host else []
            servers = ",".join(host + servers for host in hosts) or servers or ("localhost" if self.port else "")
            servers = ",".join(f"{host}:{self.port}" for host in servers.split(",")) if self.port else servers
        path = f"/{quote(self.database, safe='')}" if self.database else parts.path
        return f"{parts.scheme}://{login}{servers}{path}" + ("?" + "&".join(query) if query else "")


def _said_in(url: str) -> frozenset[str]:
    """Which of the keys beside it a URL says itself."""
    parts = urlsplit(url)
    names = dict(parse_qsl(parts.query))
    said = {
        "user": parts.username or names.get("user"),
        "password": parts.password or names.get("password"),
        "host": parts.hostname or names.get("host") or names.get("unix_socket"),
        "port": parts.netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2] or names.get("port"),
        "database": parts.path.strip("/") or names.get("dbname") or names.get("database"),
    }
    return frozenset(name for name, value in said.items() if value)
