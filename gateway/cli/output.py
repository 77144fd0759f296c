"""What the program prints: text made safe for a terminal, tables, JSON, errors, and bars for what takes long."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import typer

from gateway.core.errors import GatewayError

ID_COLUMNS = frozenset({"id", "event_id", "event", "delivery"})
STATE_COLUMNS = frozenset({"state", "outcome"})
STYLES = {
    **dict.fromkeys(("succeeded", "working", "done"), "green"),
    **dict.fromkeys(("dead", "failed", "paused", "expired"), "red"),
    **dict.fromkeys(("running", "waiting", "pending", "probing"), "yellow"),
    **dict.fromkeys(("skipped", "cancelled", "blocked", "nothing owed"), "bright_black"),
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)")
NARROW = 12  # characters that a column needs to be read, folded: a state, a stretch of a time
GAP = 2  # between two columns


def clean(value: object) -> str:
    """Text for a terminal: nothing in it can move the cursor or colour the screen."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in str(value))


def print_json(value: Any) -> None:
    """Machine-readable output."""
    print(json.dumps(value, default=str, indent=2, ensure_ascii=True))


def print_table(columns: list[str], rows: list[list[object]]) -> None:
    """A table for people; what it holds is shown as text, never as markup. Ids stay whole, so that they can be copied:
    where they leave the other columns no room, each row is shown as fields, a line each.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    on_terminal = sys.stdout.isatty()
    console = Console(width=None if on_terminal else 200, highlight=False)
    cells = [["" if cell is None else _shown(cell, on_terminal=on_terminal) for cell in row] for row in rows]
    if _narrowest(columns, cells) > console.width:
        for row in cells:
            print_fields(dict(zip(columns, row, strict=True)), max(map(len, columns)))
            print()
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ID_COLUMNS)
    for row in cells:
        styles = (
            STYLES.get(cell, "") if column in STATE_COLUMNS else "" for column, cell in zip(columns, row, strict=True)
        )
        table.add_row(*map(Text, row, styles))
    console.print(table)


def _shown(cell: object, *, on_terminal: bool) -> str:
    """A cell as text; a time, for people at a terminal, as how long ago that is."""
    if on_terminal and isinstance(cell, str) and _TIME.fullmatch(cell):
        return ago(datetime.fromisoformat(cell), datetime.now(UTC))
    return clean(cell)


def ago(at: datetime, now: datetime) -> str:
    """`5 s ago`, `in 2 min`, `3 d ago`: in the largest unit of which there is one."""
    seconds = (now - at).total_seconds()
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    size, unit = next((each for each in units if abs(seconds) >= each[0]), units[-1])
    count = round(abs(seconds) / size)
    return f"in {count} {unit}" if seconds < 0 else f"{count} {unit} ago"


def coloured(state: str) -> str:
    """A state in its colour, where colours are welcome."""
    number = {"green": 32, "yellow": 33, "red": 31, "bright_black": 90}.get(STYLES.get(state, ""))
    return f"\x1b[{number}m{clean(state)}\x1b[0m" if number and has_colours(sys.stdout) else clean(state)


def _narrowest(columns: list[str], rows: list[list[str]]) -> int:
    """The least width at which a table can be read."""
    width = GAP * (len(columns) - 1)
    for column, cells in zip(columns, zip(*rows, strict=True), strict=False):
        longest = max(map(len, cells))
        width += max(len(column), longest if column in ID_COLUMNS else min(longest, NARROW))
    return width


def print_rows(rows: Sequence[Mapping[str, Any]], columns: list[str], *, as_json: bool) -> None:
    """A list: whole for programs, some of its fields for people."""
    if as_json:
        print_json(rows)
    else:
        print_table(columns, [[row[column] for column in columns] for row in rows])


def print_fields(record: Mapping[str, object], width: int) -> None:
    """The fields of one thing, a line each."""
    for key, value in record.items():
        shown = json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, (dict, list)) else value
        print(f"{key:{width}} {clean('' if shown is None else shown)}")


def has_colours(stream: TextIO) -> bool:
    """Whether colours are welcome: on a terminal that can show them, unless NO_COLOR is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def told(error: GatewayError) -> str:
    """An error's text for a terminal: each problem of a configuration with its source line."""
    from gateway.config.diagnostics.problem import ConfigError

    if not isinstance(error, ConfigError):
        return clean(error)
    from gateway.config.diagnostics.render import report

    return report(error.problems, error.file, colours=has_colours(sys.stderr))


def fail(message: str, code: int = 1) -> typer.Exit:
    """Says what is wrong on standard error; to be raised."""
    print(clean(message), file=sys.stderr)
    return typer.Exit(code)


@contextlib.contextmanager
def bars(*names: str, transient: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Shows on standard error how far each of these is; told so by what it gives: which, how much is done, of how much.
    Transient ones are for a terminal alone, and go when they are done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:11}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    hidden = transient and not console.is_terminal
    with Progress(*columns, console=console, transient=transient, disable=hidden) as progress:
        tasks = {name: progress.add_task(name, total=None) for name in names}
        yield lambda name, done, total: progress.update(tasks[name], completed=done, total=total)


@contextlib.contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows how much of `total` is done; told so by what it gives."""
    with bars(what) as told:
        told(what, 0, total)
        yield lambda done: told(what, done, max(total, done))
