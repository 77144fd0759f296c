"""gateway backfill: asks Stripe for events that never arrived and puts them into the inbox, the oldest first."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.main import BadUsage, app, load_config, options, with_store
from gateway.cli.options import moment
from gateway.cli.output import clean, fail, print_json, print_table
from gateway.core.errors import GatewayError

if TYPE_CHECKING:
    from gateway.config.load import Config
    from gateway.intake.backfill.progress import Course
    from gateway.store.protocol import Store

WAIT_SECONDS = 1.0
WAITS = 15  # longer than the lease of one that was killed


@app.command()
def backfill(
    account: Annotated[list[str] | None, typer.Option(help="Default: every account with an api_key.")] = None,
    since: Annotated[str, typer.Option(help="30d, 2h, or a time. Stripe keeps events for 30 days.")] = "30d",
    until: Annotated[str | None, typer.Option(help="1h, or a time. Default: now.")] = None,
    type: Annotated[
        list[str] | None, typer.Option(help="A type or glob, once or more. Default: what the routes want.")
    ] = None,
    all_events: Annotated[
        bool, typer.Option("--all", help="Also events that Stripe thinks it has delivered, or had no endpoint for.")
    ] = False,
    connected_account: Annotated[
        list[str] | None, typer.Option(metavar="ACCT", help='Instead of the account\'s own events; "*": every one.')
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="From the beginning, not from where it broke off.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what it would bring, by type.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Ask Stripe for events that never arrived and put them into the inbox, the oldest first.

    What is in the inbox already is not touched, so nothing is handled twice. Where it breaks off, the same command goes
    on from there.
    """
    if options.dev:
        raise BadUsage("backfill: --dev has no Stripe to ask")
    bounds = _bounds(since, until)
    config = load_config()
    names = _accounts(config, account)
    words = " ".join(["backfill", since, until or "", *sorted(type or ()), "--all" if all_events else ""])

    async def work(store: Store) -> list[dict[str, Any]]:
        from gateway.core.routing import RouteTable
        from gateway.intake.backfill.importer import connected_to
        from gateway.intake.backfill.progress import Course, Order
        from gateway.intake.planning import intake_of
        from gateway.stripe.connections import StripeApis
        from gateway.telemetry import logging as logs

        log = logs.configure("warning", config.settings.log.format)
        intake = intake_of(config, RouteTable(config.routes))
        apis = StripeApis()
        apis.take(config.accounts.values(), config.settings.stripe.api_base, config.settings.stripe.timeout)
        done: list[dict[str, Any]] = []
        try:
            for name in names:
                owner = config.accounts[name]
                async with apis.of(owner) as api:
                    connected: list[str | None] = [None]
                    if connected_account:
                        connected = [*await connected_to(api, connected_account)]
                    for of in connected:
                        order = Order(owner, of, tuple(type or ()), not all_events, *bounds, words)
                        course = Course(store, api, intake, order, log)
                        done += await (_looked(course) if dry_run else _run(course, again))
        finally:
            await apis.close()
        return done

    done = with_store(work)
    if as_json:
        print_json(done)
    elif dry_run:
        print_table(
            ["account", "connected account", "type", "would bring"],
            [[d["account"], d["connected_account"], d["type"], d["count"]] for d in done],
        )
        if not done:
            print("nothing is missing")
    else:
        for result in done:
            print(clean(sentence(result)))


async def _looked(course: Course) -> list[dict[str, Any]]:
    order = course.order
    of = {"account": order.account.name, "connected_account": order.connected_account}
    return [{**of, "type": type, "count": count} for type, count in sorted((await course.look()).items())]


async def _run(course: Course, again: bool) -> list[dict[str, Any]]:
    """To the end, with a bar. Raises Exit where another one is at work."""
    for left in reversed(range(WAITS)):
        async with course.lease.held() as is_ours:
            if is_ours:
                await _with_bar(course, again)
                return [course.as_json()]
        if left:
            print("another one like it is at work, or was just killed: waiting", file=sys.stderr)
            await asyncio.sleep(WAIT_SECONDS)
    raise fail(f"another backfill of {course.order.account.name} like this one is at work")


async def _with_bar(course: Course, again: bool) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    if not again:
        await course.resume()
        if course.resumed:
            print(f"goes on from {_time(course.place.reached)}, where it was broken off", file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(course.order.account.name, total=1.0)

        def told() -> None:
            tally = course.place.tally
            text = f"{course.order.account.name}: {_time(course.place.reached)}, {tally.seen:,} seen, {tally.new:,} new"
            progress.update(bar, completed=course.share, description=text)

        told()
        try:
            await course.run(told)
        except (asyncio.CancelledError, GatewayError):
            print(f"broken off at {_time(course.place.reached)}: the same command goes on from there", file=sys.stderr)
            raise


def sentence(done: dict[str, Any]) -> str:
    """What came of it."""
    of = done["account"] + (f" ({done['connected_account']})" if done["connected_account"] else "")
    left = f"; {done['unwanted']:,} that no route wants were left" if done["unwanted"] else ""
    return (
        f"{of}: {done['seen']:,} events from {_time(done['since'])} to {_time(done['until'])}, {done['new']:,} of them "
        f"new in the inbox{left}"
    )


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _bounds(since: str, until: str | None) -> tuple[int, int]:
    """Unix times. Raises BadUsage."""
    from gateway.core.model import STRIPE_KEEPS_SECONDS

    now = time.time()
    first, last = moment(since, "--since"), moment(until, "--until")
    assert first is not None
    start, end = int(first.timestamp()), int(last.timestamp()) if last is not None else int(now) + 1
    if start < now - STRIPE_KEEPS_SECONDS - 60:
        raise BadUsage(f"--since {since}: Stripe keeps events for 30 days; older ones are gone")
    if start >= end:
        raise BadUsage(f"--since {since} is not before --until {until or 'now'}")
    return start, end


def _accounts(config: Config, asked: list[str] | None) -> list[str]:
    """Which accounts. Raises BadUsage, Exit."""
    for name in asked or ():
        if name not in config.accounts:
            raise BadUsage(f"there is no account {name}; known: {', '.join(config.accounts)}")
        if not config.accounts[name].api_key:
            raise fail(f"account {name} has no api_key to ask Stripe with: set accounts.{name}.api_key")
    names = asked or [name for name, account in config.accounts.items() if account.api_key]
    if not names:
        raise fail("no account has an api_key to ask Stripe with: set accounts.NAME.api_key")
    return names
