"""gateway types: the types of event that Stripe has."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.app import app, fail, print_json, print_table


@app.command()
def types(
    word: Annotated[str | None, typer.Argument(help="Only types with this in their name, or a glob.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """List Stripe's event types, snapshot and thin."""
    from gateway.event_types import is_thin, known_types, matches, nearest

    found = sorted(matches(word) or {one for one in known_types() if word in one}) if word else sorted(known_types())
    found = sorted(found, key=is_thin)  # the snapshot ones first
    if not found:
        near = nearest(word or "")
        raise fail(f"Stripe has no event type with {word!r} in its name" + (f"; did you mean {near}?" if near else ""))
    if as_json:
        print_json([{"type": one, "thin": is_thin(one)} for one in found])
        return
    print_table(["type", "form"], [[one, "thin" if is_thin(one) else "snapshot"] for one in found])
