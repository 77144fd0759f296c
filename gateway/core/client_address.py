"""Which address a request really comes from, and whether it may."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_network(value: object) -> Network:
    """A network or one address, such as 10.1.0.0/16 or 192.0.2.7. Raises ValueError."""
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    if isinstance(value, str):
        try:
            return ip_network(value)
        except ValueError:
            pass
    raise ValueError("expected an address or a network, such as 192.0.2.7 or 10.1.0.0/16")


def parse_address(text: str) -> Address | None:
    """An address as proxies and sockets write it: with a port, in brackets, IPv4 inside IPv6. None: it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


class Networks:
    """A set of networks, asked often."""

    def __init__(self, networks: Iterable[Network]) -> None:
        every = frozenset(networks)
        self._addresses = frozenset(network.network_address for network in every if network.num_addresses == 1)
        self._wide = tuple(network for network in every if network.num_addresses > 1)

    def __contains__(self, address: Address) -> bool:
        return address in self._addresses or any(address in one for one in self._wide)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where requests may come from, and which proxies are believed when they say for whom they ask."""

    allowed: Networks | None = None  # None: from anywhere
    proxies: Networks = field(default_factory=lambda: Networks(()))

    def client(self, peer: str, forwarded_for: str | None) -> Address | None:
        """The last address that no trusted proxy has: the peer's, or where that is a trusted proxy, the nearest in
        X-Forwarded-For that is none. Whatever stands before that one, anybody can write. None: nobody can tell.
        """
        address = parse_address(peer)
        for hop in reversed((forwarded_for or "").split(",")):
            if address is None or address not in self.proxies or not hop.strip():
                break
            address = parse_address(hop)
        return address

    def allow(self, client: Address | None) -> bool:
        """Whether a request of that client may be taken."""
        return self.allowed is None or (client is not None and client in self.allowed)
