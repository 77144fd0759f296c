"""What connections over HTTP share: the proxy, whom they trust, what they show of themselves."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from gateway.plugin.action import Fault
from gateway.plugin.addresses import literal_address, why_refused
from gateway.plugin.connections.reach import ENVIRONMENT, CaFile, Proxy, ca_file_faults, unusable
from gateway.plugin.connections.settings import ConnectionSettings
from gateway.plugin.http_headers import check_name, check_value


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

    proxy: Proxy = None
    ca_file: CaFile = None
    tls: ClientCertificate | None = Field(None, description="The certificate to show, where the service asks for one.")

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
        yield from ca_file_faults(self.ca_file, folder)
        if self.tls is not None:
            try:
                show(ssl.create_default_context(), self.tls, folder)
            except OSError as error:
                yield unusable(f"cannot use {self.tls.cert} as a client certificate", error, ("tls", "cert"))


def show(context: ssl.SSLContext, certificate: ClientCertificate, folder: Path) -> None:
    """Has a TLS context show the certificate. Raises OSError; ssl.SSLError, which is one, for a file that is no PEM, a
    key of another certificate, a wrong password.
    """
    key = str(folder / certificate.key) if certificate.key else None
    # an empty password too is given: without one, OpenSSL would ask the terminal
    context.load_cert_chain(str(folder / certificate.cert), key, certificate.password.get_secret_value)
