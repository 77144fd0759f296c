"""gateway explain: which routes match an event, why the others do not, and how every delivery would end."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.main import app, load_config, options, run, with_store
from gateway.cli.output import clean, fail, print_json

if TYPE_CHECKING:
    from gateway.config.load import Config
    from gateway.core.model import Event
    from gateway.simulation.explain import ExplainedAction, ExplainedRoute
    from gateway.store.protocol import Store

_ENDS = {
    "succeeded": "is delivered",
    "skipped": "is skipped",
    "dead": "becomes a dead letter",
    "expired": "expires",
    "cancelled": "is cancelled",
    "blocked": "stays blocked",
    "pending": "cannot be told beforehand",
}


@app.command()
def explain(
    file: Annotated[str | None, typer.Argument(metavar="EVENT.json|TYPE")] = None,
    event_id: Annotated[str | None, typer.Option("--id", help="An event of the inbox instead.")] = None,
    account: Annotated[str | None, typer.Option(help="Default: the first account.")] = None,
    scenario: Annotated[
        str | None, typer.Option("--as", metavar="SCENARIO", help="Of a type, as `gateway types TYPE` lists.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Say what would happen to an event, and why. Nothing is sent."""
    from gateway.simulation.engine import Assumed
    from gateway.simulation.explain import explain as explained

    config = load_config() if event_id is not None or options.dev else _without_secrets()
    if (file is None) == (event_id is None):
        raise fail("give an event file, a type, or --id", 2)
    if scenario is not None and file is None:
        raise fail("--as makes an event of a type; an event of the inbox is as it is", 2)
    if account is not None and config.account(account) is None:
        raise fail(f"there is no account {account}; known: {', '.join(config.accounts)}", 2)
    if event_id is not None:
        event, done_once = _stored(config, event_id, account)
    else:
        event, done_once = _given(config, file or "", account, scenario), {}
    routes = run(lambda: explained(config, event, Assumed(done_once=done_once)))
    if as_json:
        print_json([dataclasses.asdict(route) for route in routes])
        return
    print(clean(f"{event.id} {event.type} for account {event.account}"))
    for route in routes:
        print()
        for line in route_lines(route):
            print(clean(line))


def _without_secrets() -> Config:
    """The configuration, with a harmless value for each secret that is not here: to explain an event takes none."""
    from gateway.cli.dev.environment import Placeholders
    from gateway.config.load import load

    environ = Placeholders(os.environ, options.config)
    config = load(options.config, environ)
    if environ.invented:
        print(f"not set, so a stand-in: {', '.join(sorted(environ.invented))}", file=sys.stderr)
    return config


def _given(config: Config, file: str, account: str | None, scenario: str | None) -> Event:
    """The event of a file, or a plausible one of a type."""
    from gateway.cli.commands.send import event_from
    from gateway.core.envelope import parse_event
    from gateway.core.internal_events import usual_account

    envelope = event_from(file, scenario=scenario)
    owner = account or usual_account(str(envelope.get("type")), next(iter(config.accounts)))
    return parse_event(json.dumps(envelope).encode(), owner, datetime.now(UTC))


def _stored(config: Config, event_id: str, account: str | None) -> tuple[Event, Mapping[str, str]]:
    """An event of the inbox, and what `once_per` says was done for it already."""
    from gateway.cli.inbox import only
    from gateway.intake.planning import intake_of, replan

    async def look(store: Store) -> tuple[Event, Mapping[str, str]]:
        event = only(await store.event(event_id, account), event_id)
        keys = [planned.once_key for planned in replan(intake_of(config), event)]
        return event, await store.done_once([key for key in keys if key is not None])

    return with_store(look)


def route_lines(route: ExplainedRoute) -> Iterator[str]:
    """What `explain` prints of a route."""
    from gateway.config.yaml.writing import as_yaml

    yield f"{'MATCHES' if route.matched else 'no     '} {route.route}: {route.why}"
    for part in route.decided_by:
        yield f"          {part}"
    if route.is_fetch_assumed:
        yield (
            "        fetch asks Stripe when it runs; what follows is with the event's own object, and samples of what "
            "it lacks"
        )
    for key, value in (("once_per", route.once_per), ("order_by", route.order_by)):
        if value is not None:
            yield f"        {key}: {json.dumps(value, ensure_ascii=False, default=str)}"
    if any(action.needs for action in route.actions):
        yield "        in this order:"
        for line in drawn(route.actions):
            yield f"            {line}"
    for action in route.actions:
        ends = f"{action.waits}, and then {_ENDS[action.state]}" if action.waits else _ENDS[action.state]
        yield f"    {action.name} ({action.uses}) {ends}" + (f": {action.reason}" if action.reason else "")
        for part in action.decided_by:
            yield f"          {part}"
        if action.rendered is not None:
            for line in as_yaml(action.rendered, width=10_000, shows_lines=True).splitlines():
                yield f"        {line}"


def drawn(actions: tuple[ExplainedAction, ...]) -> Iterator[str]:
    """What waits for what, as a tree: each action stands below the last of those that it needs."""
    order = {action.name: i for i, action in enumerate(actions)}
    below: dict[str | None, list[ExplainedAction]] = {}
    depth: dict[str, int] = {}
    for action in actions:
        depth[action.name] = 1 + max((depth[need] for need in action.needs), default=0)
        parent = max(action.needs, key=lambda need: (depth[need], order[need]), default=None)
        below.setdefault(parent, []).append(action)
    fork, last, bar = ("├─ ", "└─ ", "│  ") if _draws_lines() else ("|- ", "`- ", "|  ")

    def lines(parent: str | None, indent: str) -> Iterator[str]:
        children = below.get(parent, [])
        for action in children:
            is_last = action is children[-1]
            others = [need for need in action.needs if need != parent]
            also = f" (also after {', '.join(others)})" if others else ""
            mark = "" if parent is None else last if is_last else fork
            yield f"{indent}{mark}{action.name}{also}"
            yield from lines(action.name, indent + ("" if parent is None else "   " if is_last else bar))

    yield from lines(None, "")


def _draws_lines() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
