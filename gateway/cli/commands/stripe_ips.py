"""gateway stripe-ips: the file with the addresses that Stripe sends webhooks from: refresh, show."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.main import BadUsage, app, environment, options, run
from gateway.cli.options import Json
from gateway.cli.output import clean, fail, print_json

stripe_ips = typer.Typer(no_args_is_help=True, help="The addresses that Stripe sends webhooks from: refresh, show.")
app.add_typer(stripe_ips, name="stripe-ips")

SECONDS = 30.0
MOST_BYTES = 1024 * 1024


def _file() -> Path:
    """Where the config keeps them. Raises ConfigError where its YAML cannot be read; all else may be wrong."""
    from gateway.config.partial import load_stripe_ips

    return load_stripe_ips(options.config, environment())


@stripe_ips.command()
def refresh(
    url: Annotated[str | None, typer.Option(help="Where from; default: where Stripe publishes them.")] = None,
) -> None:
    """Fetch Stripe's list into the file that `allowed_ips: stripe` reads. For cron: once a day."""
    from gateway.stripe import ip_ranges as file

    path = _file()
    wanted = url or file.PUBLISHED_AT
    content = run(lambda: _fetch(wanted))
    try:
        networks, _ = file.parse(content)
    except ValueError as error:
        raise fail(f"what {wanted} answered is not Stripe's list: {error}; {path} stays as it is") from None
    try:
        before = set(file.read(path).networks)
    except (OSError, ValueError):
        before = set()
    try:
        file.write(path, networks, datetime.now(UTC))
    except OSError as error:
        raise fail(f"cannot write {path}: {error.strerror}") from None
    added, gone = set(networks) - before, before - set(networks)
    print(f"wrote {clean(path)}: {len(set(networks))} addresses, {len(added)} new, {len(gone)} gone")
    for sign, some in (("+", added), ("-", gone)):
        for address in sorted(map(file.shown, some)):
            print(f"{sign} {address}")


@stripe_ips.command()
def show(as_json: Json = False) -> None:
    """Show the file: its addresses, and how old it is."""
    from gateway.stripe import ip_ranges as file

    path = _file()
    try:
        ranges = file.read(path)
    except OSError as error:
        raise fail(f"cannot read {path}: {error.strerror}; {file.REFRESH}") from None
    except ValueError as error:
        raise fail(f"{path} does not hold Stripe's addresses: {error}; {file.REFRESH}") from None
    is_old = ranges.is_old(datetime.now(UTC))
    addresses = [file.shown(network) for network in ranges.networks]
    if as_json:
        fetched_at = ranges.fetched_at.isoformat(timespec="seconds")
        print_json({"file": str(path), "fetched_at": fetched_at, "is_old": is_old, "addresses": addresses})
        return
    print(f"{clean(path)}: fetched {ranges.fetched_at:%Y-%m-%d %H:%M} UTC{', which is too old' if is_old else ''}")
    print("\n".join(addresses))


async def _fetch(url: str) -> bytes:
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS), trust_env=True) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise fail(f"{url} answered {response.status}")
            content = await response.content.read(MOST_BYTES + 1)
            while len(content) <= MOST_BYTES and (more := await response.content.read(MOST_BYTES)):
                content += more
    except aiohttp.InvalidURL:
        raise BadUsage(f"--url {url!r} is no URL") from None
    except TimeoutError:
        raise fail(f"no answer from {url} within {SECONDS:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise fail(f"cannot reach {url}: {error}") from None
    if len(content) > MOST_BYTES:
        raise fail(f"what {url} answered is too long for Stripe's list")
    return content
