"""gateway explain: which routes match an event, why the others do not, and every action rendered."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli.app import app, clean, fail, load_config, options, print_json, with_store


@app.command()
def explain(
    file: Annotated[str | None, typer.Argument(metavar="EVENT.json|TYPE")] = None,
    event_id: Annotated[str | None, typer.Option("--id", help="An event of the inbox instead.")] = None,
    account: Annotated[str | None, typer.Option(help="Default: the first account.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Say what would happen to an event. Nothing is sent."""
    from gateway.cli.send import event_from
    from gateway.delivery.explain import explain as explained
    from gateway.envelope import parse_event

    config = load_config()
    name = account or next(iter(config.accounts))
    if (file is None) == (event_id is None):
        raise fail("give an event file, a type, or --id", 2)
    if name not in config.accounts:
        raise fail(f"there is no account {name}; known: {', '.join(config.accounts)}", 2)
    if event_id is not None:
        wanted = event_id
        found = with_store(lambda store: store.event(wanted, account))
        if not found:
            raise fail(f"there is no event {event_id} in the inbox")
        if len(found) > 1:
            raise fail(f"several accounts have {event_id}: say --account {' or '.join(e.account for e in found)}", 2)
        if found[0].account not in config.accounts:
            raise fail(f"{options.config} has no account {found[0].account} any more")
        event = found[0]
    else:
        body = json.dumps(event_from(file or "")).encode()
        event = parse_event(body, name, datetime.now(UTC))
    routes = explained(config, event)
    if as_json:
        print_json([dataclasses.asdict(route) for route in routes])
        return
    print(clean(f"{event.id} {event.type} for account {event.account}"))
    for route in routes:
        print(f"\n{'MATCHES' if route.matched else 'no     '} {route.route}: {clean(route.why)}")
        for action in route.actions:
            needs = f", after {', '.join(action.needs)}" if action.needs else ""
            print(f"  {action.name} ({action.uses}{needs})")
            for label, value in (("note", action.note), ("error", action.error)):
                if value:
                    print(f"    {label}: {clean(value)}")
            if action.rendered is not None:
                text = json.dumps(action.rendered, indent=2, ensure_ascii=False)
                print("\n".join("    " + clean(line) for line in text.splitlines()))
