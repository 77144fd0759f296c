"""Whose request it is, behind however many proxies."""

from __future__ import annotations

import pytest

from gateway.core.client_address import Networks, Sources, parse_address, parse_network

PROXIES = Networks(parse_network(one) for one in ("127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48"))
STRIPE = Networks(parse_network(one) for one in ("3.18.12.63", "198.51.100.0/24", "2001:db8:1::5"))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("3.18.12.63", None, "3.18.12.63"),
        ("3.18.12.63", "9.9.9.9", "3.18.12.63"),  # the peer is no proxy of ours: its word is nothing
        ("127.0.0.1", "3.18.12.63", "3.18.12.63"),
        ("::ffff:127.0.0.1", "3.18.12.63", "3.18.12.63"),  # a socket for both kinds of addresses
        ("127.0.0.1", "3.18.12.63, 203.0.113.9", "203.0.113.9"),  # what a client claims itself stands further left
        ("127.0.0.1", "203.0.113.9,3.18.12.63 , 10.1.2.3", "3.18.12.63"),
        ("127.0.0.1", "3.18.12.63:4711", "3.18.12.63"),
        ("127.0.0.1", "[2001:db8:1::5]:443", "2001:db8:1::5"),
        ("127.0.0.1", "2001:db8:1::5", "2001:db8:1::5"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "10.1.1.1", "10.1.1.1"),
        ("127.0.0.1", "3.18.12.63, unknown", None),
        ("127.0.0.1", "3.18.12.63, 10.0.0.1, <script>", None),
        ("", "3.18.12.63", None),
    ],
)
def test_the_client_is_the_nearest_that_is_no_trusted_proxy(
    peer: str, forwarded_for: str | None, client: str | None
) -> None:
    found = Sources(STRIPE, PROXIES).client(peer, forwarded_for)
    assert (None if found is None else str(found)) == client


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("3.18.12.63", True),
        ("3.18.12.64", False),
        ("198.51.100.200", True),
        ("198.51.101.1", False),
        ("2001:db8:1::5", True),
        ("2001:db8:1::6", False),
        ("nobody", False),
    ],
)
def test_only_what_is_listed_is_allowed(address: str, allowed: bool) -> None:
    assert Sources(STRIPE, PROXIES).allow(parse_address(address)) is allowed


def test_without_a_list_everybody_is_allowed() -> None:
    assert Sources().allow(None)


def test_without_proxies_nobody_is_believed() -> None:
    assert str(Sources(STRIPE).client("127.0.0.1", "3.18.12.63")) == "127.0.0.1"


@pytest.mark.parametrize("value", ["10.0.0.0/33", "10.0.0.1/8", "stripe", "", 7, None])
def test_what_is_no_network_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"expected an address or a network, such as 192.0.2.7 or 10.1.0.0/16"):
        parse_network(value)
