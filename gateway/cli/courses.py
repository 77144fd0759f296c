"""Long ways through Stripe's lists that a person sends the gateway on, with a bar: for backfill and seed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.cli.main import BadUsage
from gateway.cli.options import moment
from gateway.cli.output import fail
from gateway.core.errors import GatewayError

if TYPE_CHECKING:
    from gateway.config.load import Config
    from gateway.core.model import Route
    from gateway.intake.backfill.progress import Course

WAIT_SECONDS = 1.0
WAITS = 15  # longer than the lease of one that was killed


async def run_course(course: Course, *, again: bool) -> list[dict[str, Any]]:
    """To the end, with a bar. Raises Exit where another one is at work."""
    for left in reversed(range(WAITS)):
        async with course.lease.held() as is_ours:
            if is_ours:
                await _with_bar(course, again)
                return [course.as_json()]
        if left:
            print("another one like it is at work, or was just killed: waiting", file=sys.stderr)
            await asyncio.sleep(WAIT_SECONDS)
    raise fail(f"another {course.verb} of {course.order.account.name} like this one is at work")


async def _with_bar(course: Course, again: bool) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Remaining

    if not again:
        await course.resume()
        if course.resumed:
            print(f"goes on from {as_minute(course.place.reached)}, where it was broken off", file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), Elapsed(), Remaining())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(course.order.account.name, total=1.0)

        def told() -> None:
            at, tally = as_minute(course.place.reached), course.place.tally
            text = f"{course.order.account.name}: {at}, {tally.seen:,} seen, {tally.new:,} new"
            progress.update(bar, completed=course.share, description=text)

        told()
        try:
            await course.run(told)
        except (asyncio.CancelledError, GatewayError):
            at = as_minute(course.place.reached)
            print(f"broken off at {at}: the same command goes on from there", file=sys.stderr)
            raise


def whose(account: str, connected_account: str | None) -> str:
    """An account for people, with the connected one whose objects are meant."""
    return f"{account} ({connected_account})" if connected_account else account


def as_minute(seconds: int) -> str:
    """A Unix time for people, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def time_bounds(since: str, until: str | None, *, of_events: bool = False, settle_seconds: int = -1) -> tuple[int, int]:
    """Unix times of `--since` and `--until`, which is so many seconds ago where it is left out; events Stripe keeps for
    a while only. Raises BadUsage.
    """
    from gateway.core.model import STRIPE_KEEPS_SECONDS

    now = time.time()
    first, last = moment(since, "--since"), moment(until, "--until")
    assert first is not None
    start, end = int(first.timestamp()), int(last.timestamp()) if last is not None else int(now) - settle_seconds
    if of_events and start < now - STRIPE_KEEPS_SECONDS - 60:
        raise BadUsage(f"--since {since}: Stripe keeps events for 30 days; older ones are gone")
    if start >= end:
        raise BadUsage(f"--since {since} is not before --until {until or as_minute(end)}")
    return start, end


def per_second(rate: str) -> float:
    """The requests a second of `20/s`. Raises BadUsage."""
    from gateway.plugin import parse_rate

    try:
        asked = parse_rate(rate)
    except ValueError as error:
        raise BadUsage(f"--rate {rate!r}: {error}") from None
    return asked.count / asked.per_seconds


def route_named(config: Config, name: str) -> Route:
    """The route of that name. Raises BadUsage."""
    from gateway.core.spelling import did_you_mean

    route = next((route for route in config.routes if route.name == name), None)
    if route is None:
        known = [route.name for route in config.routes]
        raise BadUsage(f"there is no route {name}: {did_you_mean(name, known) or 'known: ' + ', '.join(known)}")
    return route


def check_connected(route: Route, asked: list[str] | None) -> None:
    """Raises BadUsage where a route takes nothing of the account's own, and no connected account is asked for."""
    from gateway.core.model import OWN

    if not asked and OWN not in route.connected_accounts:
        raise BadUsage(f"route {route.name} takes only what connected accounts have: say --connected-account, or '*'")


def accounts_with_key(config: Config, asked: list[str] | None, among: Iterable[str]) -> list[str]:
    """Which accounts are meant: those that are asked for, else of some all that have a key. Raises BadUsage, Exit."""
    for name in asked or ():
        if name not in config.accounts:
            raise BadUsage(f"there is no account {name}; known: {', '.join(config.accounts)}")
        if not config.accounts[name].api_key:
            raise fail(f"account {name} has no api_key to ask Stripe with: set accounts.{name}.api_key")
    names = asked or [name for name in among if name in config.accounts and config.accounts[name].api_key]
    if not names:
        raise fail("no account has an api_key to ask Stripe with: set accounts.NAME.api_key")
    return names
