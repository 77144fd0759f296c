"""The file with the addresses that Stripe sends webhooks from: as Stripe publishes it, with the time of its fetching.

https://docs.stripe.com/ips: changes are announced seven days before they are made.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.core.client_address import Network, parse_network

PUBLISHED_AT = "https://stripe.com/files/ips/ips_webhooks.json"
LONGEST_AGE = timedelta(days=7)  # as long before a change Stripe tells of it
REFRESH = "`gateway stripe-ips refresh` fetches it"


@dataclass(frozen=True, slots=True)
class StripeIps:
    """What the file holds."""

    networks: tuple[Network, ...]
    fetched_at: datetime  # where the file does not say, when it was written

    def is_old(self, now: datetime) -> bool:
        """Whether Stripe may have changed its addresses since, and told nobody but by its mailing list."""
        return now - self.fetched_at > LONGEST_AGE


def parse(content: bytes) -> tuple[tuple[Network, ...], datetime | None]:
    """The networks in Stripe's JSON, and the time of fetching where we wrote it there. Raises ValueError."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    listed = value.get("WEBHOOKS") if isinstance(value, dict) else None
    if not isinstance(listed, list) or not listed:
        raise ValueError("it has no list WEBHOOKS with addresses in it")
    networks = []
    for address in listed:
        try:
            networks.append(parse_network(address))
        except ValueError:
            raise ValueError(f"{address!r:.60} in WEBHOOKS is no address") from None
    try:
        fetched_at = datetime.fromisoformat(value["fetched_at"])
    except (KeyError, TypeError, ValueError):
        return tuple(networks), None
    return tuple(networks), fetched_at if fetched_at.tzinfo else fetched_at.replace(tzinfo=UTC)


def read(path: Path) -> StripeIps:
    """The file. Raises OSError, ValueError."""
    networks, fetched_at = parse(path.read_bytes())
    return StripeIps(networks, fetched_at or datetime.fromtimestamp(path.stat().st_mtime, UTC))


def write(path: Path, networks: Sequence[Network], fetched_at: datetime) -> None:
    """Puts the file in its place at once: nobody ever reads half of it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        {"WEBHOOKS": [shown(network) for network in networks], "fetched_at": fetched_at.isoformat()}, indent=2
    )
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        beside.write_text(text + "\n")
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def shown(network: Network) -> str:
    """An address as Stripe writes it: without the length of a prefix that is the whole."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)
