"""What settings of several types say in the same way: through which proxy, whom to trust, which private addresses."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from gateway.plugin.action import Fault
from gateway.plugin.types import check_url

ENVIRONMENT = "env"  # as `proxy`: the environment says which


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


def _proxy(value: SecretStr | None) -> SecretStr | None:
    if value is None or not value.get_secret_value():  # as from ${PROXY:-}
        return None
    if value.get_secret_value() != ENVIRONMENT:
        check_proxy(value.get_secret_value())
    return value


Proxy = Annotated[
    SecretStr | None,
    AfterValidator(_proxy),
    Field(
        description="Through which proxy: http://host:port or https://host:port, with user:password@ where it asks; or "
        "env, for HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment. Left out: none, whatever those say.",
        examples=["env"],
    ),
]
"""Through which proxy a connection goes; None: none is named."""

CaFile = Annotated[
    str | None,
    Field(
        description="Certificates to trust instead of the system's, PEM; read anew when the file changes.",
        examples=["config/tls/ca.pem"],
    ),
]
"""A file with certificates to trust."""

AllowPrivate = Annotated[
    bool | list[IPv4Network | IPv6Network],
    Field(
        title="true, false or list of networks",
        description="true, or the private networks that may be reached. Link-local and metadata addresses never are.",
        examples=[["10.1.0.0/16"]],
    ),
]
"""The private networks that may be reached: true for all, false for none."""


def ca_file_faults(ca_file: str | None, folder: Path) -> Iterator[Fault]:
    """A file whose certificates cannot be read."""
    if ca_file is not None:
        try:
            ssl.create_default_context(cafile=str(folder / ca_file))
        except OSError as error:  # ssl.SSLError is one
            yield unusable(f"cannot read certificates from {ca_file}", error, ("ca_file",))


def unusable(what: str, error: OSError, key: tuple[str, ...]) -> Fault:
    """A file that is of no use. One that is not there may be where the gateway will run: a warning."""
    is_there = not isinstance(error, FileNotFoundError)
    return Fault(key, f"{what}: {why_unusable(error)}", is_error=is_there)


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
