"""What connections over HTTP share: the proxy, whom they trust, what they show of themselves."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator

from gateway.plugin.action import Fault
from gateway.plugin.addresses import literal_address, why_refused
from gateway.plugin.connections.settings import ConnectionSettings
from gateway.plugin.http_headers import check_name, check_value
from gateway.plugin.types import check_url

ENVIRONMENT = "env"  # as `proxy`: the environment says which


def _secret_value(value: SecretStr) -> SecretStr:
    check_value(value.get_secret_value())
    return value


SecretHeaders = dict[Annotated[str, AfterValidator(check_name)], Annotated[SecretStr, AfterValidator(_secret_value)]]
"""Headers whose values are secrets."""


class ClientCertificate(BaseModel):
    """The certificate that the gateway shows of itself (mutual TLS)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cert: str = Field(
        min_length=1,
        description="File with the certificate and its chain, PEM; read anew when it changes.",
        examples=["config/tls/gateway.pem"],
    )
    key: str | None = Field(
        None,
        description="File with the private key, PEM. Left out: it is in cert.",
        examples=["config/tls/gateway-key.pem"],
    )
    password: SecretStr = Field(SecretStr(""), description="Of an encrypted key.", examples=["${TLS_KEY_PASSWORD}"])


class WebConnection(ConnectionSettings):
    """What every connection over HTTP has."""

    proxy: SecretStr | None = Field(
        None,
        description="Through which proxy: http://host:port or https://host:port, with user:password@ where it asks; or "
        "env, for HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment. Left out: none, whatever those say.",
        examples=["env"],
    )
    ca_file: str | None = Field(
        None,
        description="Certificates to trust instead of the system's, PEM; read anew when the file changes.",
        examples=["config/tls/ca.pem"],
    )
    tls: ClientCertificate | None = Field(None, description="The certificate to show, where the service asks for one.")

    @field_validator("proxy")
    @classmethod
    def _is_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():  # as from ${PROXY:-}
            return None
        if value.get_secret_value() != ENVIRONMENT:
            check_proxy(value.get_secret_value())
        return value

    @property
    def reachable(self) -> bool | list[IPv4Network | IPv6Network]:
        """The private networks that may be reached: true for all, false for none."""
        return True

    def addresses(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Each URL that it connects to, by its key."""
        if self.proxy is not None and self.proxy.get_secret_value() != ENVIRONMENT:
            yield ("proxy",), self.proxy.get_secret_value()

    def faults(self, folder: Path) -> Iterable[Fault]:
        """Addresses that are never reached, and files that cannot be used."""
        for key, url in self.addresses():
            address = literal_address(urlsplit(url).hostname or "")
            if address is not None and (reason := why_refused(address, self.reachable)) is not None:
                yield Fault(key, reason, is_error=why_refused(address, True) is not None)
        if self.ca_file is not None:
            try:
                ssl.create_default_context(cafile=str(folder / self.ca_file))
            except OSError as error:  # ssl.SSLError is one
                yield _unusable(f"cannot read certificates from {self.ca_file}", error, ("ca_file",))
        if self.tls is not None:
            try:
                show(ssl.create_default_context(), self.tls, folder)
            except OSError as error:
                yield _unusable(f"cannot use {self.tls.cert} as a client certificate", error, ("tls", "cert"))


def _unusable(what: str, error: OSError, key: tuple[str, ...]) -> Fault:
    """A file that is not there may be where the gateway will run: a warning."""
    is_there = not isinstance(error, FileNotFoundError)
    return Fault(key, f"{what}: {why_unusable(error)}", is_error=is_there)


def show(context: ssl.SSLContext, certificate: ClientCertificate, folder: Path) -> None:
    """Has a TLS context show the certificate. Raises OSError; ssl.SSLError, which is one, for a file that is no PEM, a
    key of another certificate, a wrong password.
    """
    key = str(folder / certificate.key) if certificate.key else None
    # an empty password too is given: without one, OpenSSL would ask the terminal
    context.load_cert_chain(str(folder / certificate.cert), key, certificate.password.get_secret_value)


def check_proxy(url: str) -> str:
    """The URL of a proxy. Raises ValueError, without the URL in it."""
    try:
        check_url(url)
    except ValueError:
        kind = url.partition("://")[0] if url.startswith(("socks", "quic", "ftp")) else ""
        hint = f"{kind} is not spoken; " if kind else ""
        raise ValueError(f"is no proxy: {hint}write http://host:port, https://host:port, or env") from None
    parts = urlsplit(url)
    if ":" in unquote(parts.username or ""):  # RFC 7617, section 2
        raise ValueError("is no proxy: no user has a colon in the name")
    if parts.path not in ("", "/") or parts.query:
        raise ValueError("is no proxy: it has a path; write http://host:port, https://host:port, or env")
    return url


def why_unusable(error: OSError) -> str:
    """Why a file with certificates is of no use."""
    if isinstance(error, ssl.SSLError):
        words = {
            "KEY_VALUES_MISMATCH": "the key is another certificate's",
            "NO_START_LINE": "there is no PEM in it",
            "NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in it",
        }
        reason = error.reason or ""
        return words.get(reason, reason.lower().replace("_", " ") or "it is not what it should be")
    return error.strerror or type(error).__name__
