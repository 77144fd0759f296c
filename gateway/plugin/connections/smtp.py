"""Connections of type `smtp`."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from gateway.plugin.action import Fault
from gateway.plugin.connections.http import OAuth2Settings
from gateway.plugin.connections.reach import AllowPrivate, CaFile, Proxy, ca_file_faults
from gateway.plugin.connections.settings import ConnectionSettings
from gateway.plugin.connections.web import WebConnection
from gateway.plugin.mail_address import address_literal, ascii_host, mail_addresses
from gateway.plugin.types import Size, Url


class DownloadSettings(BaseModel):
    """From where a mail's attachments may be fetched."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    is_stood_in: ClassVar[bool] = False  # True: nothing is fetched; a text that says so is attached instead

    hosts: list[str] = Field(
        min_length=1,
        description="The hosts that a `url` of an attachment, and what it redirects to, may have; no other is asked.",
        examples=[["pay.stripe.com", "files.stripe.com"]],
    )
    max_size: Size = Field(5 * 1024 * 1024, description="A larger file is a dead letter.", examples=["2MiB"])
    allow_private: AllowPrivate = Field(
        False,
        description="true, or the private networks that may be reached, by http:// too. Link-local and metadata "
        "addresses never are.",
    )

    def stood_in(self) -> DownloadSettings:
        """The same for `gateway dev`: what may be fetched is judged, and not fetched."""
        return _StoodIn.model_construct(**dict(self))

    @field_validator("hosts")
    @classmethod
    def _plain(cls, value: list[str]) -> list[str]:
        for host in value:
            if not host or any(character in host for character in "/:@*? "):
                raise ValueError("expected the name of a host, such as pay.stripe.com, without https:// and port")
        return [host.lower() for host in value]


class TokenEndpoint(WebConnection):
    """How an endpoint for tokens is reached that is not the connection's own server."""

    allow_private: AllowPrivate = False

    @property
    def reachable(self) -> bool | list[IPv4Network | IPv6Network]:
        """The private networks that may be reached."""
        return self.allow_private


class MailOAuth2Settings(OAuth2Settings):
    """Access tokens for the login at a mail server (XOAUTH2), as Gmail and Microsoft 365 want them."""

    token_url: Url = Field(description="The token endpoint.", examples=["https://oauth2.googleapis.com/token"])
    proxy: Proxy = Field(None, description="Through which proxy it is reached, as of http connections.")
    allow_private: AllowPrivate = Field(
        False,
        description="true, or the private networks where it may be. Metadata addresses are never reached.",
    )

    def endpoint(self) -> TokenEndpoint:
        """How it is reached."""
        return TokenEndpoint(type="token", proxy=self.proxy, allow_private=self.allow_private)


class _StoodIn(DownloadSettings):
    """Settings under which nothing is fetched."""

    is_stood_in: ClassVar[bool] = True


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
    hello: str = Field(
        "",
        description="How the gateway calls itself (EHLO). Left out: this machine's full name, else its address.",
        examples=["gateway.acme.example"],
    )
    username: str = Field("", description="Empty: no login.", examples=["gateway"])
    password: SecretStr = Field(SecretStr(""), description="For the login.", examples=["${SMTP_PASSWORD}"])
    oauth2: MailOAuth2Settings | None = Field(
        None, description="Access tokens for the login of username, instead of a password (XOAUTH2)."
    )
    from_: str = Field(
        alias="from", min_length=3, description="The sender of every mail.", examples=["Acme <orders@acme.example>"]
    )
    ca_file: CaFile = Field(None, description="Certificates to trust instead of the system's, PEM.")
    downloads: DownloadSettings | None = Field(
        None, description="From where attachments may be fetched. Left out: from nowhere."
    )
    concurrency: int = Field(2, ge=1, le=100, description="Connections kept open at most.", examples=[4])

    @field_validator("oauth2")
    @classmethod
    def _single_login(cls, value: MailOAuth2Settings | None, info: ValidationInfo) -> MailOAuth2Settings | None:
        if value is not None and info.data.get("password", SecretStr("")).get_secret_value():
            raise ValueError("password and oauth2 are two ways to log in: leave one out")
        if value is not None and info.data.get("username") == "":
            raise ValueError("oauth2 needs username: the mailbox that is logged in to")
        return value

    @field_validator("host")
    @classmethod
    def _of_dns(cls, value: str) -> str:
        """A name beyond ASCII is read by IDNA of 2008; Python's own codec would make another server of ß."""
        literal = value.removeprefix("[").removesuffix("]")
        try:
            return literal if _is_address(literal) else ascii_host(value)
        except ValueError:
            raise ValueError("expected a server's name or address, without smtp:// and port") from None

    @field_validator("hello")
    @classmethod
    def _full_name(cls, value: str) -> str:
        try:
            return address_literal(value) if _is_address(value) else ascii_host(value) if value else ""
        except ValueError:
            raise ValueError("expected this gateway's full host name, or its address") from None

    def faults(self, folder: Path) -> Iterable[Fault]:
        """Certificates that cannot be read."""
        yield from ca_file_faults(self.ca_file, folder)

    @field_validator("from_")
    @classmethod
    def _single(cls, value: str) -> str:
        try:
            is_single = len(mail_addresses(value)) == 1
        except ValueError:
            is_single = False
        if not is_single:
            raise ValueError("expected one address such as Acme <orders@acme.example> (a name with a comma in quotes)")
        return value


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
