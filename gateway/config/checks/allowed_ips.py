"""`server.allowed_ips` and `server.trusted_proxies` -> whom the public listener hears."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

from gateway.config.diagnostics.problem import Problem
from gateway.config.schema.server import ServerSettings
from gateway.config.schema.types import STRIPE, split_listen
from gateway.config.yaml.document import Source
from gateway.core.client_address import Network, Networks, Sources
from gateway.stripe import ip_ranges as stripe_ips
from gateway.stripe.ip_ranges import REFRESH


def stripe_file(server: ServerSettings, folder: Path) -> Path | None:
    """The file with Stripe's addresses, where the settings want them."""
    return folder / server.stripe_ips if server.allowed_ips is not None and STRIPE in server.allowed_ips else None


def sources_of(server: ServerSettings, source: Source, now: datetime) -> tuple[Sources, frozenset[Path], list[Problem]]:
    """Whom to hear, the files read for it, and what is wrong with them."""
    proxies = Networks(server.trusted_proxies)
    if server.allowed_ips is None:
        return Sources(None, proxies), frozenset(), []
    networks: list[Network] = [allowed for allowed in server.allowed_ips if not isinstance(allowed, str)]
    problems = list(_lint_proxies(server, networks, source))
    file = stripe_file(server, source.folder)
    if file is not None:
        where = source.where(("server", "allowed_ips"))
        try:
            addresses = stripe_ips.read(file)
        except OSError as error:
            message = f"cannot read Stripe's addresses from {server.stripe_ips}: {error.strerror}"
            problems.append(Problem(where, message, REFRESH, code="stripe-ips"))
        except ValueError as error:
            message = f"{server.stripe_ips} does not hold Stripe's addresses: {error}"
            problems.append(Problem(where, message, REFRESH, code="stripe-ips"))
        else:
            networks += addresses.networks
            if addresses.is_old(now):
                message = (
                    f"{server.stripe_ips} was fetched on {addresses.fetched_at:%Y-%m-%d}, more than 7 days ago: "
                    "Stripe may send from addresses that it does not have"
                )
                hint = f"{REFRESH} again; let cron do it daily"
                problems.append(Problem(where, message, hint, "warning", "stripe-ips"))
    return Sources(Networks(networks), proxies), frozenset([file] if file is not None else []), problems


def _lint_proxies(server: ServerSettings, networks: list[Network], source: Source) -> Iterator[Problem]:
    """Listening on loopback means a proxy in front: by its own address, it would be refused."""
    host = split_listen(server.listen)[0]
    try:
        is_loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if is_loopback and not server.trusted_proxies and not any(network.is_loopback for network in networks):
        yield Problem(
            source.where(("server", "allowed_ips")),
            f"every request would be refused: to {server.listen} a proxy of this machine posts, whose address is not "
            "allowed and whose word is not trusted",
            "trusted_proxies: [127.0.0.1, '::1'], and a proxy that sets X-Forwarded-For",
            "warning",
            "untrusted-proxy",
        )
