"""gateway fields: what Stripe's objects are made of."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any

import typer

from gateway.cli.main import app
from gateway.cli.output import fail, print_json, print_table

_MOST_SHOWN = 8  # values in the table; --json has them all


@app.command()
def fields(
    name: Annotated[str, typer.Argument(metavar="TYPE", help="A type of event, or an object such as invoice.")],
    pattern: Annotated[str | None, typer.Argument(help="Only fields with this in their path, or a glob.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """List what `object` has in events of a type: paths as templates write them, types, values, what an id names."""
    from gateway.core.spelling import nearest
    from gateway.stripe import objects
    from gateway.stripe.event_types import every_type

    names = (name,) if name in objects.object_names() else objects.objects_of(name)
    if not names:
        near = nearest(name, every_type() | objects.object_names())
        raise fail(f"Stripe has no event type or object {name}" + (f"; did you mean {near}?" if near else ""))
    rows = [row for owner in names for row in _rows(owner, several=len(names) > 1) if _is_wanted(row, pattern)]
    if not rows:
        raise fail(f"{' or '.join(names)} has no field with {pattern!r} in its path")
    if as_json:
        print_json(rows)
        return
    cells = [[row["field"], row["type"], "null" if row["null"] else "", _shown(row)] for row in rows]
    print_table(["field", "type", "null", "is"], cells)


def _is_wanted(row: dict[str, Any], pattern: str | None) -> bool:
    path = row["field"]
    return pattern is None or pattern in path or fnmatchcase(path, pattern)


def _rows(owner: str, *, several: bool) -> list[dict[str, Any]]:
    from gateway.stripe import objects

    rows = []
    for place in objects.every_path(owner):
        field = place.type
        rows.append(
            {
                "field": f"object.{place.path}",
                "type": field.kind,
                "null": field.is_nullable,
                "values": list(field.values),
                "expands": list(field.objects) if field.kind == "expandable" else [],
                "moved": None,
            }
        )
    for path, move in objects.moved(owner).items():
        now = f"object.{move.where}" if move.where else move.note
        rows.append(
            {
                "field": f"object.{path}",
                "type": "moved",
                "null": False,
                "values": [],
                "expands": [],
                "moved": {"since": move.version, "now": now},
            }
        )
    return [{"object": owner, **row} for row in rows] if several else rows


def _shown(row: dict[str, Any]) -> str:
    if row["moved"]:
        return f"gone since {row['moved']['since']}" + (f": {row['moved']['now']}" if row["moved"]["now"] else "")
    if row["expands"]:
        return f"an id: fetch expands it to {' or '.join(row['expands'])}"
    values = row["values"]
    return ", ".join(map(str, values[:_MOST_SHOWN])) + (f", ... ({len(values)})" if len(values) > _MOST_SHOWN else "")
