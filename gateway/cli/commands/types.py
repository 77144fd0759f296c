"""gateway types: the types of event that there are."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.main import app
from gateway.cli.output import fail, print_json, print_table


@app.command()
def types(
    word: Annotated[str | None, typer.Argument(help="Only types with this in their name, or a glob.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """List the event types: Stripe's, snapshot and thin, and the gateway's own; of one type, its scenarios for --as."""
    from gateway.core.internal_events import is_own
    from gateway.stripe.event_types import every_type, is_thin, matches, nearest
    from gateway.testing import scenarios

    listed = sorted(matches(word) or {name for name in every_type() if word in name}) if word else sorted(every_type())
    listed = sorted(listed, key=lambda name: (is_own(name), is_thin(name)))  # the snapshot ones first
    if not listed:
        near = nearest(word or "")
        raise fail(f"there is no event type with {word!r} in its name" + (f"; did you mean {near}?" if near else ""))
    about = scenarios(word) if word and listed == [word] and not is_thin(word) else {}
    if as_json:
        rows = [{"type": name, "thin": is_thin(name), "own": is_own(name)} for name in listed]
        print_json([{**row, "scenarios": about} for row in rows] if about else rows)
        return
    print_table(
        ["type", "form"],
        [[name, "own" if is_own(name) else "thin" if is_thin(name) else "snapshot"] for name in listed],
    )
    if about:
        print(f"\nfor `gateway send {word} --as SCENARIO`, and `gateway explain`:")
        print_table(["scenario", "about"], [list(row) for row in about.items()])
