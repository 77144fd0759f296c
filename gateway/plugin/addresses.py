"""Pure: which addresses a connection may reach. Link-local and metadata addresses never, private ones where allowed."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

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


def literal_address(host: str) -> str | None:
    """The address that a host is, in whatever digits, or None for a name. `localhost` and what is below it is one."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
        return "127.0.0.1"
    try:
        return str(ip_address(name.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(name))  # 127.1, 0x7f000001, 2130706433: as the system reads them
    except (OSError, UnicodeEncodeError, ValueError):
        return None
