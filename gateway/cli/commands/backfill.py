"""gateway backfill: asks Stripe for events that never arrived and puts them into the inbox, the oldest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.courses import accounts_with_key, as_minute, run_course, time_bounds, whose
from gateway.cli.main import BadUsage, app, load_config, options, with_store
from gateway.cli.output import clean, print_json, print_table

if TYPE_CHECKING:
    from gateway.intake.backfill.progress import Course
    from gateway.store.protocol import Store


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
    bounds = time_bounds(since, until, of_events=True)
    config = load_config()
    names = accounts_with_key(config, account, config.accounts)
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
                    for of in await connected_to(api, connected_account or ()):
                        order = Order(owner, of, tuple(type or ()), not all_events, *bounds, words)
                        course = Course(store, api, intake, order, log)
                        done += await (_looked(course) if dry_run else run_course(course, again=again))
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


def sentence(done: dict[str, Any]) -> str:
    """What came of it."""
    of = whose(done["account"], done["connected_account"])
    left = f"; {done['unwanted']:,} that no route wants were left" if done["unwanted"] else ""
    return (
        f"{of}: {done['seen']:,} events from {as_minute(done['since'])} to {as_minute(done['until'])}, "
        f"{done['new']:,} of them new in the inbox{left}"
    )
