"""A table as the database describes it: read, made where it is missing, and checked before db_upsert writes to it.

Imports SQLAlchemy, which is slow: db_upsert imports this file when it first writes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.schema import CreateTable

from actions.column_values import type_for

_INDEX_NAME_CHARACTERS = 60  # PostgreSQL takes 63, MySQL 64


@dataclass(frozen=True, slots=True)
class KnownTable:
    """A table that was there when it was read."""

    table: sa.Table
    types: Mapping[str, Any]
    unique: frozenset[frozenset[str]]  # columns of the primary key and of each unique index over the whole table


async def read_table(connection: AsyncConnection, name: str) -> KnownTable | None:
    """What the database says of `table` or `schema.table`; None where there is none."""
    schema, table_name = _split(name)

    def read(sync: sa.Connection) -> KnownTable | None:
        inspector = sa.inspect(sync)
        try:
            columns = inspector.get_columns(table_name, schema)
            unique: list[Any] = [inspector.get_pk_constraint(table_name, schema)["constrained_columns"]]
            for constraint in inspector.get_unique_constraints(table_name, schema):
                if not constraint.get("duplicates_index"):
                    unique.append(constraint["column_names"])
            for index in inspector.get_indexes(table_name, schema):
                options = index.get("dialect_options", {})
                is_partial = any(option.endswith("_where") and value is not None for option, value in options.items())
                is_prefix = any(option.endswith("_length") and value for option, value in options.items())
                if index["unique"] and not is_partial and not is_prefix:
                    unique.append([column or "(expression)" for column in index["column_names"]])
        except sa.exc.NoSuchTableError:
            return None
        if not columns:
            return None
        table = _table(name, [sa.Column(_quoted(column["name"]), column["type"]) for column in columns])
        keys = frozenset(frozenset(columns_of) for columns_of in unique if columns_of)
        return KnownTable(table, {column["name"]: column["type"] for column in columns}, keys)

    return await connection.run_sync(read)


async def make_table(engine: AsyncEngine, name: str, rows: Iterable[Mapping[str, Any]], key: Iterable[str]) -> None:
    """Creates a table whose columns are typed after the rows' values, `key` its primary key. Takes one that another
    made meanwhile as made. Raises what the database raises.
    """
    key_columns = set(key)
    samples: dict[str, Any] = {}
    for row in rows:
        samples |= {column: value for column, value in row.items() if value is not None or column not in samples}
    columns = [
        sa.Column(
            _quoted(column),
            type_for(value, engine.dialect.name, is_key=column in key_columns),
            primary_key=column in key_columns,
            autoincrement=False,
        )
        for column, value in samples.items()
    ]
    try:
        async with engine.begin() as connection:
            await connection.execute(CreateTable(_table(name, columns), if_not_exists=True))
    except sa.exc.DBAPIError:  # PostgreSQL and MariaDB let two creators race even so
        async with engine.connect() as connection:
            if await read_table(connection, name) is None:
                raise


def complaint(
    engine: AsyncEngine, name: str, rows: Iterable[Mapping[str, Any]], keys: Iterable[frozenset[str]], known: KnownTable
) -> str | None:
    """What the table lacks to take the rows by their keys, and the SQL that would mend it; None: nothing."""
    preparer = engine.dialect.identifier_preparer
    table = preparer.format_table(known.table)
    for row in rows:
        for column, value in row.items():
            if column not in known.types:
                near = difflib.get_close_matches(column, known.types, n=1)
                kind = type_for(value, engine.dialect.name, is_key=False).compile(engine.dialect)
                return (
                    f"table {name} has no column {column}"
                    + (f" (did you mean {near[0]}?)" if near else "")
                    + f"; to add it: ALTER TABLE {table} ADD COLUMN {preparer.quote_identifier(column)} {kind}"
                )
    lacking = next((key for key in keys if key not in known.unique), None)
    return "; to add one: ".join(lacking_index(engine, name, lacking, known)) if lacking is not None else None


def lacking_index(engine: AsyncEngine, name: str, key: frozenset[str], known: KnownTable) -> tuple[str, str]:
    """That a key has no unique index, in words, and the SQL that adds one."""
    preparer = engine.dialect.identifier_preparer
    ordered = [column for column in known.types if column in key]
    names = ", ".join(preparer.quote_identifier(column) for column in ordered)
    index = "_".join([_split(name)[1], *ordered, "key"])[:_INDEX_NAME_CHARACTERS]
    table = preparer.format_table(known.table)
    return (
        f"table {name} has no primary key or unique index on exactly ({', '.join(ordered)}), so a second run "
        "could not find its row",
        f"CREATE UNIQUE INDEX {preparer.quote_identifier(index)} ON {table} ({names})",
    )


def _split(name: str) -> tuple[str | None, str]:
    schema, dot, table = name.partition(".")
    return (schema, table) if dot else (None, name)


def _quoted(name: str) -> sa.sql.quoted_name:
    return sa.sql.quoted_name(name, True)


def _table(name: str, columns: Iterable[sa.Column[Any]]) -> sa.Table:
    schema, table_name = _split(name)
    return sa.Table(_quoted(table_name), sa.MetaData(), *columns, schema=_quoted(schema) if schema else None)
