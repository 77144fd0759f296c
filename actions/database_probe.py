"""What db_upsert finds in a database without writing to it: that it answers, and that its tables fit.

Imports SQLAlchemy, which is slow: db_upsert imports this file when it is asked.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from actions.database_row import Row
from actions.database_table import KnownTable, lacking_index, near_table, read_table
from actions.key_collation import key_doubt
from actions.upsert_statement import upsert
from gateway.plugin import Finding, ProbedUse, Unrendered, Verdict
from gateway.plugin.database import DATABASE_FIX, answering, missing_file, told

_PARTS = ("key", "values", "insert_only")
_RIGHTS = "give the connection's user SELECT, INSERT and UPDATE on it, or mend what is named"


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
            if known is None:
                return _without_table(use, await near_table(connection, table))
    except Exception as error:
        return Finding.bad(f"table {table} cannot be read: {told(error, url)}", DATABASE_FIX, use=use.place)
    finding = _with_table(engine, table, known, use)
    if finding.verdict is not Verdict.GOOD:
        return finding
    refusal = await _refusal(engine, url, known, use)
    if refusal is not None:
        return Finding.bad(f"table {table} would refuse the row: {refusal}", _RIGHTS, use=use.place)
    try:
        async with engine.connect() as connection:
            doubt = await key_doubt(connection, known, list(map(known.name_of, use.settings["key"])))
            doubt = doubt or await _row_security(connection, table, known)
    except Exception as error:
        return Finding.note(f"table {table} was not looked at whole: {told(error, url)}", use=use.place)
    return Finding.note(*doubt, use=use.place) if doubt is not None else finding


async def _refusal(engine: AsyncEngine, url: str, known: KnownTable, use: ProbedUse) -> str | None:
    """What the database says to the very statement of a use, which it explains and does not run: missing rights, ..."""
    if known.view is not None and engine.dialect.name == "sqlite":
        return None
    columns = {name: dict.fromkeys(map(known.name_of, _named(use.settings, name))) for name in _PARTS}
    newest = _newest(use.settings)
    row = Row(columns["key"], columns["values"] | ({newest: None} if newest else {}), columns["insert_only"])
    is_kept = use.settings.get("on_conflict") == "ignore"
    dialect = engine.dialect.name
    statement = sa.insert(known.table).values(row.columns) if known.view is not None else None
    if statement is None:
        statement = upsert(known, row, is_kept=is_kept, dialect=dialect)
    sql = str(statement.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True}))
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql(f"EXPLAIN {sql}")
    except Exception as error:
        return told(error, url)
    return None


async def _row_security(connection: AsyncConnection, table: str, known: KnownTable) -> tuple[str, str] | None:
    """Whether PostgreSQL shows and takes only such rows as a policy names."""
    if connection.dialect.name != "postgresql":
        return None
    name = connection.dialect.identifier_preparer.format_table(known.table)
    if not await connection.scalar(sa.text("SELECT row_security_active(to_regclass(:name))"), {"name": name}):
        return None
    return (
        f"row-level security holds for table {table}: rows that its policies do not name are refused, or not found",
        "see that a policy lets the connection's user insert, update and select its rows",
    )


def _unknown_table(use: ProbedUse) -> Finding | None:
    table = use.settings.get("table")
    if not isinstance(table, Unrendered):
        return None
    return Finding.note(f"table {table.source!r} is known only when it runs: not looked at", use=use.place)


def _without_table(use: ProbedUse, near: str = "") -> Finding:
    table = use.settings.get("table")
    if use.settings.get("ensure_table") is True:
        return Finding.good(f"there is no table {table} yet; the first row makes it", use=use.place)
    return Finding.bad(f"there is no table {table}{near}", "create it, or say ensure_table: true", use=use.place)


def _with_table(engine: AsyncEngine, table: str, known: KnownTable, use: ProbedUse) -> Finding:
    """What the table lacks for a use, or that it lacks nothing."""
    columns = {known.name_of(column) for column in _columns(use.settings)}
    filled = sorted(columns & known.filled)
    if filled:
        text = f"column {filled[0]} of {table} is filled in by the database itself"
        return Finding.bad(text, f"leave {filled[0]} out", use=use.place)
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
    columns_of_key = frozenset(map(known.name_of, key))
    if known.view is not None:
        if "INSERT" not in known.view:
            return Finding.bad(f"the view {table} takes no rows", "give it an INSTEAD OF INSERT trigger", use=use.place)
        return Finding.good(f"the view {table} has its {len(columns)} columns and takes rows", use=use.place)
    if columns_of_key not in known.unique:
        text, sql = lacking_index(engine, table, columns_of_key, known)
        return Finding.bad(text, sql, use=use.place)
    return Finding.good(f"table {table} has its {len(columns)} columns and a unique index on its key", use=use.place)


def _columns(settings: Mapping[str, Any]) -> Iterator[str]:
    """The columns that are written, as far as they are known."""
    for part in _PARTS:
        yield from _named(settings, part)
    if (newest := _newest(settings)) is not None:
        yield newest


def _named(settings: Mapping[str, Any], part: str) -> Iterator[str]:
    columns = settings.get(part)
    yield from map(str, columns) if isinstance(columns, Mapping) else ()


def _newest(settings: Mapping[str, Any]) -> str | None:
    newest = settings.get("newest")
    column = newest.get("column") if isinstance(newest, Mapping) else None
    return column if isinstance(column, str) else None
