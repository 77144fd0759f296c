"""gateway seed: runs Stripe's objects of the years before through one route, as if it had been there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.commands.explain import route_lines
from gateway.cli.courses import (
    accounts_with_key,
    as_minute,
    check_connected,
    per_second,
    route_named,
    run_course,
    time_bounds,
    whose,
)
from gateway.cli.main import BadUsage, app, load_config, options, with_store
from gateway.cli.output import bars, clean, fail, print_json, print_table

if TYPE_CHECKING:
    from gateway.config.load import Config
    from gateway.core.model import Route
    from gateway.intake.backfill.objects import Seedable
    from gateway.intake.backfill.seeding import SeedCourse
    from gateway.simulation.seed_preview import SeedPreview
    from gateway.store.protocol import Store


@app.command()
def seed(
    route: Annotated[str, typer.Argument(help="The route that is to have them.")],
    since: Annotated[str, typer.Option(help="2020-01-01, or 30d: objects created since then.")],
    until: Annotated[
        str | None, typer.Option(help="The same for the end. Default: a minute ago; what is newer comes by its event.")
    ] = None,
    type: Annotated[
        list[str] | None, typer.Option(help="Of the route's types this one, once or more. Default: all that can be.")
    ] = None,
    only: Annotated[str, typer.Option(metavar="ACTION,...", help="Only these of the route's actions.")] = "",
    rate: Annotated[str, typer.Option(help="Requests to Stripe; at most half of what the account may.")] = "20/s",
    account: Annotated[list[str] | None, typer.Option(help="Default: those of the route with an api_key.")] = None,
    connected_account: Annotated[
        list[str] | None, typer.Option(metavar="ACCT", help="Instead of the account's own objects; \"*\": every one's.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="From the beginning, not from where it broke off.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many there are, and what would happen.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Also where it does more than write rows.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Run Stripe's objects through a route, as if it had been there when they were made: once for each object.

    Of each the event is made that its present state tells of, such as invoice.paid of an invoice that is paid. The
    running gateway delivers it. Where it breaks off, the same command goes on from there; run again, it makes nothing
    twice, nor what Stripe's own events have brought to the route.
    """
    from gateway.intake.backfill.reconcile import SETTLE_SECONDS

    if options.dev:
        raise BadUsage("seed: --dev has no Stripe to ask")
    bounds = time_bounds(since, until, settle_seconds=SETTLE_SECONDS)
    config = load_config()
    asked = _asked(config, route, type, only)
    names = accounts_with_key(config, account, asked.route.accounts or config.accounts)
    check_connected(asked.route, connected_account)
    _check_reach(asked, has_said=yes or bool(only) or dry_run)
    words = " ".join(["seed", route, since, until or "", *sorted(type or ()), only])
    command = _SeedCommand(
        config, asked, names, tuple(connected_account or ()), per_second(rate), bounds, words, again, dry_run
    )
    results = with_store(command.run)
    if as_json:
        print_json([{"route": route, "cannot_be_told": asked.seedable.untold, **_plain(result)} for result in results])
        return
    if dry_run:
        for result in results:
            _print_preview(result, asked)
        return
    for event_type, why in asked.seedable.untold.items():
        print(clean(f"not told by objects: {event_type}: {why}"))
    for result in results:
        print(clean(sentence(result, route)))


@dataclass(frozen=True, slots=True)
class _SeedCommand:
    """A command line that has been understood."""

    config: Config
    asked: _Asked
    accounts: Sequence[str]
    connected_accounts: Sequence[str]
    rate: float  # requests a second
    bounds: tuple[int, int]
    words: str
    is_again: bool
    is_dry: bool

    async def run(self, store: Store) -> list[dict[str, Any]]:
        """What came of each account. Raises StripeApiError, StoreError, NobodyDelivers, LeaseLost."""
        from gateway.core.routing import RouteTable
        from gateway.intake.backfill.importer import connected_to
        from gateway.intake.backfill.objects import paced
        from gateway.intake.backfill.progress import Order
        from gateway.intake.backfill.seeding import SeedCourse, SeedPlan
        from gateway.intake.planning import intake_of
        from gateway.stripe.connections import StripeApis
        from gateway.telemetry import logging as logs

        settings, route = self.config.settings, self.asked.route
        log = logs.configure("warning", settings.log.format)
        intake = intake_of(self.config, RouteTable((route,)))
        apis = StripeApis()
        apis.take((), settings.stripe.api_base, settings.stripe.timeout)
        done: list[dict[str, Any]] = []
        try:
            for name in self.accounts:
                owner = paced(self.config.accounts[name], self.rate)
                async with apis.of(owner) as api:
                    for of in await connected_to(api, self.connected_accounts):
                        order = Order(owner, of, (), False, *self.bounds, self.words)
                        course = SeedCourse(store, api, intake, order, log, SeedPlan(route, self.asked.seedable.kinds))
                        done += await self._went(course, store)
        finally:
            await apis.close()
        return done

    async def _went(self, course: SeedCourse, store: Store) -> list[dict[str, Any]]:
        from gateway.cli.inbox import this_person

        if self.is_dry:
            return [await _looked(course, self.config, self.asked, store)]
        target = (self.words, course.order.account.name, course.order.connected_account)
        await store.record(this_person().entry("route.seed", " ".join(filter(None, target))))
        return await run_course(course, again=self.is_again)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be seeded: the route, with the actions that are to run, and what of its types can be told."""

    route: Route
    seedable: Seedable


def _asked(config: Config, name: str, types: list[str] | None, only: str) -> _Asked:
    """Raises BadUsage, Exit where no type of the route can be told by an object."""
    from gateway.intake.backfill.objects import seedable
    from gateway.intake.backfill.seeding import narrowed
    from gateway.stripe.object_states import types_of

    route = route_named(config, name)
    known_types = types_of(route.events)
    for event_type in types or ():
        if event_type not in known_types:
            raise BadUsage(f"--type {event_type}: route {name} takes {', '.join(route.events)}")
    named = [action.strip() for action in only.split(",") if action.strip()]
    for action in named:
        if route.action(action) is None:
            raise BadUsage(f"--only {action}: route {name} has {', '.join(use.name for use in route.actions)}")
        if missing := sorted(route.needed_by(action) - set(named)):
            raise BadUsage(f"--only {only}: {action} needs {', '.join(missing)}: name what it needs too")
    told = seedable(types or route.events)
    if not told.kinds:
        lines = "\n".join(f"  {event_type}: {why}" for event_type, why in told.untold.items())
        raise fail(f"nothing of route {name} can be seeded:\n{lines}")
    return _Asked(narrowed(route, named), told)


def _check_reach(asked: _Asked, *, has_said: bool) -> None:
    """Raises BadUsage where a seed would do more than write rows, and nobody has said that it may."""
    from gateway.simulation.seed_preview import reaching_out

    reaching = reaching_out(asked.route)
    if reaching and not has_said:
        named = ", ".join(f"{action.name} ({action.uses})" for action in reaching)
        rows = ",".join(action.name for action in asked.route.actions if action not in reaching)
        way = f"--only {rows}" if rows else "--only with the actions that are to run"
        raise BadUsage(
            f"seed would do more than write rows, once for every object: {named}. See how often with --dry-run; then "
            f"say {way}, or --yes for all of it"
        )


async def _looked(course: SeedCourse, config: Config, asked: _Asked, store: Store) -> dict[str, Any]:
    from gateway.simulation.seed_preview import SeedSimulator

    simulator, seen = SeedSimulator(config, asked.route, store), 0
    with bars("objects", transient=True) as show:
        async for event, done in course.objects():
            seen += 1
            await simulator.take(event, done)
            show("objects", seen, seen)
    return {**course.as_json(), "seen": seen, "preview": simulator.preview}


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """A result for `--json`."""
    preview: SeedPreview | None = result.pop("preview", None)
    if preview is None:
        return result
    for counted in ("new", "unwanted"):
        result.pop(counted)
    actions = [
        {"action": a.action, "uses": a.uses, "would": a.words, "states": a.states, "dead": a.dead}
        for a in preview.actions.values()
    ]
    return {**result, "dry_run": True, "would_bring": preview.types, "known": preview.known,
            "unwanted": preview.unwanted, "actions": actions}  # fmt: skip


def _print_preview(result: Mapping[str, Any], asked: _Asked) -> None:
    preview: SeedPreview = result["preview"]
    of = whose(result["account"], result["connected_account"])
    print(clean(f"{of}: {result['seen']:,} objects from {as_minute(result['since'])} to {as_minute(result['until'])}"))
    for event_type, count in Counter(preview.types).most_common():
        print(f"  {count:,} would come as {event_type}")
    if preview.known:
        print(f"  {preview.known:,} have come to the route before: nothing is done for them")
    if preview.unwanted:
        print(f"  {preview.unwanted:,} the route does not take: its `if` is false for them")
    for event_type, why in asked.seedable.untold.items():
        print(clean(f"  not told by objects: {event_type}: {why}"))
    if asked.route.digest is not None or asked.route.debounce is not None:
        print("  of several that come close together one acts (digest, debounce): fewer than is said here")
    print()
    rows: list[list[object]] = []
    for action in preview.actions.values():
        rest = {state: count for state, count in action.states.items() if state not in ("succeeded", "pending")}
        others = ", ".join(f"{count:,} {state}" for state, count in rest.items())
        rows.append([action.action, action.uses, action.words, others + (f" ({action.dead})" if action.dead else "")])
    print_table(["action", "uses", "", "and"], rows)
    for sampled, sample in zip(preview.sampled, preview.samples, strict=True):
        print(clean(f"\n{sampled}"))
        for line in route_lines(sample):
            print(clean(line))
    from gateway.simulation.seed_preview import reaching_out

    if reaching := [preview.actions[action.name] for action in reaching_out(asked.route)]:
        print("\nbeside rows, it " + "; ".join(clean(f"{action.words} ({action.action})") for action in reaching))


def sentence(done: Mapping[str, Any], route: str) -> str:
    """What came of it."""
    of = whose(done["account"], done["connected_account"])
    known = done["seen"] - done["new"] - done["unwanted"]
    return (
        f"{of}: {done['seen']:,} objects from {as_minute(done['since'])} to {as_minute(done['until'])}; "
        f"{done['new']:,} are new to route {route}, {known:,} had come before, {done['unwanted']:,} it does not take"
    )
