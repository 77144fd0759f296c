"""What db_upsert finds in a database without writing to it: that it answers, and that its tables fit.

Imports SQLAlchemy, which is slow: db_upsert imports this file when it is asked.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from actions.database_table import KnownTable, lacking_index, read_table
from gateway.plugin import Finding, ProbedUse, Unrendered, Verdict
from gateway.plugin.database import DATABASE_FIX, answering, missing_file, told


async def findings(engine: AsyncEngine, url: str, uses: Sequence[ProbedUse]) -> AsyncIterator[Finding]:
    """One for the database, one for each use."""
    file = missing_file(engine)
    if file is not None:
        yield Finding.good(f"there is no file {file.name} yet; the first row makes it")
        for use in uses:
            yield _unknown_table(use) or _without_table(use)
        return
    answer = await answering(engine, url)
    yield answer
    if answer.verdict is Verdict.BAD:
        return
    for use in uses:
        yield _unknown_table(use) or await _looked_at(engine, url, use)


async def _looked_at(engine: AsyncEngine, url: str, use: ProbedUse) -> Finding:
    table = str(use.settings.get("table"))
    try:
        async with engine.connect() as connection:
            known = await read_table(connection, table)
    except Exception as error:
        return Finding.bad(f"table {table} cannot be read: {told(error, url)}", DATABASE_FIX, use=use.place)
    return _without_table(use) if known is None else _with_table(engine, table, known, use)


def _unknown_table(use: ProbedUse) -> Finding | None:
    table = use.settings.get("table")
    if not isinstance(table, Unrendered):
        return None
    return Finding.note(f"table {table.source!r} is known only when it runs: not looked at", use=use.place)


def _without_table(use: ProbedUse) -> Finding:
    table = use.settings.get("table")
    if use.settings.get("ensure_table") is True:
        return Finding.good(f"there is no table {table} yet; the first row makes it", use=use.place)
    return Finding.bad(f"there is no table {table}", "create it, or say ensure_table: true", use=use.place)


def _with_table(engine: AsyncEngine, table: str, known: KnownTable, use: ProbedUse) -> Finding:
    """What the table lacks for a use, or that it lacks nothing."""
    columns = set(_columns(use.settings))
    missing = sorted(columns - set(known.types))
    if missing:
        hints = [near[0] for column in missing if (near := difflib.get_close_matches(column, known.types, n=1))]
        guess = f" (did you mean {', '.join(hints)}?)" if hints else ""
        word = "column" if len(missing) == 1 else "columns"
        text = f"table {table} has no {word} {', '.join(missing)}{guess}"
        return Finding.bad(text, f"add the {word} to {table}, or mend the name in key, values or newest", use=use.place)
    key = use.settings.get("key")
    if not isinstance(key, Mapping):
        return Finding.note(f"table {table} is there; its key is known only when it runs", use=use.place)
    if frozenset(key) not in known.unique:
        text, sql = lacking_index(engine, table, frozenset(key), known)
        return Finding.bad(text, sql, use=use.place)
    return Finding.good(f"table {table} has its {len(columns)} columns and a unique index on its key", use=use.place)


def _columns(settings: Mapping[str, Any]) -> Iterator[str]:
    """The columns that are written, as far as they are known."""
    for part in ("key", "values"):
        columns = settings.get(part)
        if isinstance(columns, Mapping):
            yield from map(str, columns)
    newest = settings.get("newest")
    if isinstance(newest, Mapping) and isinstance(newest.get("column"), str):
        yield newest["column"]
