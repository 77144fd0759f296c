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
    """List the event types: Stripe's, snapshot and thin, and the gateway's own."""
    from gateway.core.internal_events import is_own
    from gateway.stripe.event_types import every_type, is_thin, matches, nearest

    found = sorted(matches(word) or {one for one in every_type() if word in one}) if word else sorted(every_type())
    found = sorted(found, key=lambda one: (is_own(one), is_thin(one)))  # the snapshot ones first
    if not found:
        near = nearest(word or "")
        raise fail(f"there is no event type with {word!r} in its name" + (f"; did you mean {near}?" if near else ""))
    if as_json:
        print_json([{"type": one, "thin": is_thin(one), "own": is_own(one)} for one in found])
        return
    print_table(
        ["type", "form"], [[one, "own" if is_own(one) else "thin" if is_thin(one) else "snapshot"] for one in found]
    )
