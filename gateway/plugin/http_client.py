"""An HTTP client that refuses to reach where an operator did not mean it to: the guard against SSRF.

A resolver alone is bypassed by literal addresses, and a check before connecting by DNS rebinding. The guard
therefore stands where the socket is made, and sees the very address that is connected to.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from gateway.plugin.addresses import Network, why_refused

if TYPE_CHECKING:  # takes long to import: `gateway check` does without
    import aiohttp


REQUEST_TRACING: ContextVar[Callable[[], aiohttp.TraceConfig] | None] = ContextVar("request_tracing", default=None)
"""What traces the requests of sessions that are made here; None: nobody does."""

_REFUSED_ERRNO = 20_001  # no system's own: survives when several addresses' errors are joined into one


class AddressRefused(OSError):  # noqa: N818
    """The destination resolved to an address that this connection may not reach."""

    def __init__(self, reason: str) -> None:
        super().__init__(_REFUSED_ERRNO, reason)


def refusal(error: OSError) -> str | None:
    """Why the guard refused to connect, or None where the error is another. Takes also the error that several refused
    addresses of one host are joined into.
    """
    return error.strerror or "the address is refused" if error.errno == _REFUSED_ERRNO else None


def guarded_session(
    *, allow_private: bool | Sequence[Network] = False, limit: int = 100, **kwargs: Any
) -> aiohttp.ClientSession:
    """A session whose connections refuse link-local and metadata addresses always, and private ones unless
    allowed. Raises AddressRefused (an OSError, wrapped by aiohttp in ClientConnectorError) on connect.

    Redirects are the caller's to forbid (`allow_redirects=False`). The environment's proxies are not used. Where the
    gateway traces, each request bears `traceparent`.
    """
    import aiohttp

    def make_socket(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        reason = why_refused(address[0], allow_private)
        if reason:
            raise AddressRefused(reason)
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(limit=limit, socket_factory=make_socket, ttl_dns_cache=10)
    if (traced := REQUEST_TRACING.get()) is not None:
        kwargs["trace_configs"] = [*kwargs.get("trace_configs", ()), traced()]
    return aiohttp.ClientSession(connector=connector, trust_env=False, **kwargs)


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Seconds asked for by a `Retry-After` header (RFC 9110, section 10.2.3: seconds or an HTTP date), or None."""
    if not value:
        return None
    text = value.strip()
    if text.isdecimal() and text.isascii():
        return float(min(int(text[:12]), 10**9))
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
