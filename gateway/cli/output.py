"""What the program prints: text made safe for a terminal, tables, JSON, errors, and bars for what takes long."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import typer

from gateway.core.errors import GatewayError

ID_COLUMNS = frozenset({"id", "event_id", "event", "delivery"})
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

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    cells = [["" if cell is None else clean(cell) for cell in row] for row in rows]
    if _narrowest(columns, cells) > console.width:
        for row in cells:
            print_fields(dict(zip(columns, row, strict=True)), max(map(len, columns)))
            print()
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ID_COLUMNS)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


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
