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
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # takes long to import: `gateway check` does without
    import aiohttp

Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")  # RFC 2765
_METADATA = frozenset(
    {
        ip_address("169.254.169.254"),  # AWS, GCP, Azure and others
        ip_address("fd00:ec2::254"),  # AWS over IPv6
        ip_address("100.100.100.200"),  # Alibaba Cloud
        ip_address("168.63.129.16"),  # Azure's wire server
        ip_address("fd20:ce::254"),  # GCP over IPv6
        ip_address("192.0.0.192"),  # Oracle Cloud
        ip_address("fd00:c1::a9fe:a9fe"),  # Oracle Cloud over IPv6
    }
)


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


def embedded(address: IPv4Address | IPv6Address) -> tuple[IPv4Address | IPv6Address, ...]:
    """The IPv4 addresses that an IPv4-mapped, translated, 6to4, Teredo or NAT64 address may stand for, else the address
    itself.
    """
    if not isinstance(address, IPv6Address):
        return (address,)
    bits = int(address)
    last = IPv4Address(bits & 0xFFFFFFFF)
    if address.ipv4_mapped or address in _TRANSLATED or address in _NAT64:
        return (last,)
    if address.sixtofour:
        return (address.sixtofour,)
    if address.teredo:
        return address.teredo
    if address in _NAT64_LOCAL:  # after /96 as after /48, RFC 6052 section 2.2: which of them is the network's to say
        return last, IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF)
    if bits >> 32 == 0 and bits > 1:  # IPv4-compatible, RFC 4291 section 2.5.5.1
        return (last,)
    return (address,)


def why_refused(host: str, allow_private: bool | Sequence[Network]) -> str | None:
    """Why a connection may not reach the address `host` (without a scope id), or None where it may."""
    reached = embedded(ip_address(host.partition("%")[0]))
    if any(address.is_link_local or address in _METADATA for address in reached):
        return f"{host} is a link-local or cloud metadata address, which is never reached"
    if any(address.is_multicast for address in reached):
        return f"{host} is a multicast address"
    private = [address for address in reached if not address.is_global or getattr(address, "is_site_local", False)]
    if not private or allow_private is True:
        return None
    if not isinstance(allow_private, bool) and all(
        any(address in network for network in allow_private if network.version == address.version)
        for address in private
    ):
        return None
    return f"{host} is a private address; say allow_private: true, or list its network, if it is meant"


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
