"""A table as the database describes it: read, made where it is missing, and checked before db_upsert writes to it.

Imports SQLAlchemy, which is slow: db_upsert imports this file when it first writes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.sqlite.base import ischema_names
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.schema import CreateTable

from actions.column_values import type_for

_INDEX_NAME_CHARACTERS = 60  # PostgreSQL takes 63, MySQL 64
_OF_ONE_NAME = frozenset(("sqlite", "mysql"))  # where Email and email are one column
_DEFERRABLE = """
    SELECT (SELECT array_agg(attname::text) FROM pg_attribute
            WHERE attrelid = to_regclass(:name) AND attnum = ANY (string_to_array(late.columns, ' ')::int[]))
    FROM (SELECT indkey::text AS columns FROM pg_index WHERE indrelid = to_regclass(:name) AND indisunique
          GROUP BY 1 HAVING NOT bool_and(indimmediate)) late
"""
_VIEW_TAKES = """
    SELECT CASE WHEN relkind = 'v' THEN pg_relation_is_updatable(oid, true) END
    FROM pg_class WHERE oid = to_regclass(:name)
"""
_UPDATE, _INSERT = 4, 8  # what pg_relation_is_updatable answers


@dataclass(frozen=True, slots=True)
class KnownTable:
    """A table, or a view, that was there when it was read."""

    table: sa.Table
    types: Mapping[str, Any]
    unique: frozenset[frozenset[str]]  # columns of the primary key and of each unique index over the whole table
    filled: frozenset[str] = frozenset()  # columns that the database fills in, and nobody else
    deferrable: frozenset[frozenset[str]] = frozenset()  # columns of unique constraints that ON CONFLICT does not take
    view: frozenset[str] | None = None  # of a view that triggers may write through: INSERT, UPDATE
    by_affinity: frozenset[str] = frozenset()  # columns of SQLite whose type it does not know, and takes for a number's

    def name_of(self, column: str) -> str:
        """A column's name as it stands in the table, where the database takes another spelling for the same."""
        if column in self.types or not self.table.info["is_of_one_name"]:
            return column
        return next((name for name in self.types if name.casefold() == column.casefold()), column)


async def read_table(connection: AsyncConnection, name: str) -> KnownTable | None:
    """What the database says of `table` or `schema.table`; None where there is none."""
    return await connection.run_sync(_read, name)


def _read(sync: sa.Connection, name: str) -> KnownTable | None:
    schema, table_name = _split(name)
    dialect = sync.dialect.name
    if dialect == "sqlite":  # it takes any spelling of a name; SQLAlchemy does not
        table_name = _spelled(sync, schema, table_name)
    inspector = sa.inspect(sync)
    try:
        columns = inspector.get_columns(table_name, schema)
        unique = frozenset(_unique(inspector, table_name, schema))
    except sa.exc.NoSuchTableError:
        return None
    if not columns:
        return None
    types: dict[str, Any] = {column["name"]: column["type"] for column in columns}
    by_affinity = _by_affinity(sync, schema, table_name, types) if dialect == "sqlite" else frozenset()
    types |= dict.fromkeys(by_affinity, sa.types.NullType())
    bound = {  # a number of SQLite goes in as it was fitted, not as SQLAlchemy's float
        column: sa.types.NullType() if dialect == "sqlite" and isinstance(kind, sa.Numeric) else kind
        for column, kind in types.items()
    }
    table = _table(
        f"{schema}.{table_name}" if schema else table_name,
        [sa.Column(_quoted(column), kind) for column, kind in bound.items()],
    )
    table.info["is_of_one_name"] = dialect in _OF_ONE_NAME
    filled = {column["name"] for column in columns if _is_filled(column)}
    quoted = sync.dialect.identifier_preparer.format_table(table)
    deferrable: frozenset[frozenset[str]] = frozenset()
    if dialect == "postgresql":
        deferrable = frozenset(
            map(frozenset, filter(None, sync.execute(sa.text(_DEFERRABLE), {"name": quoted}).scalars()))
        )
    view = _view(sync, schema, table_name, quoted) if not unique else None
    return KnownTable(table, types, unique - deferrable, frozenset(filled), deferrable, view, by_affinity)


def _unique(inspector: Any, table_name: str, schema: str | None) -> Iterable[frozenset[str]]:
    columns: list[Any] = [inspector.get_pk_constraint(table_name, schema)["constrained_columns"]]
    for constraint in inspector.get_unique_constraints(table_name, schema):
        if not constraint.get("duplicates_index"):
            columns.append(constraint["column_names"])
    for index in inspector.get_indexes(table_name, schema):
        options = index.get("dialect_options", {})
        is_partial = any(option.endswith("_where") and value is not None for option, value in options.items())
        is_prefix = any(option.endswith("_length") and value for option, value in options.items())
        if index["unique"] and not is_partial and not is_prefix:
            columns.append([column or "(expression)" for column in index["column_names"]])
    return (frozenset(columns_of) for columns_of in columns if columns_of)


def _is_filled(column: Mapping[str, Any]) -> bool:
    return bool(column.get("computed")) or bool((column.get("identity") or {}).get("always"))


def _spelled(sync: sa.Connection, schema: str | None, table_name: str) -> str:
    """The name of a table of SQLite as it was created; the same where there is none."""
    master = _master(schema)
    query = sa.select(master.c.name).where(master.c.type.in_(["table", "view"]), _same_name(master.c.name, table_name))
    return sync.scalar(query) or table_name


def _master(schema: str | None) -> Any:
    """SQLite's table of what it has."""
    return sa.table("sqlite_master", *map(sa.column, ("type", "name", "tbl_name", "sql")), schema=schema)


def _same_name(column: Any, name: str) -> Any:
    return column.collate("NOCASE") == name


def _by_affinity(sync: sa.Connection, schema: str | None, table_name: str, types: Mapping[str, Any]) -> frozenset[str]:
    """Columns declared with a type that SQLite does not know, such as STRING or UUID: it takes them for NUMERIC, which
    keeps any text that is no number (https://www.sqlite.org/datatype3.html, 3.1).
    """
    quote = sync.dialect.identifier_preparer.quote_identifier
    pragma = f"PRAGMA {quote(schema) + '.' if schema else ''}table_xinfo({quote(table_name)})"
    declared = {row[1]: re.sub(r"\s*\(.*", "", row[2] or "").upper() for row in sync.exec_driver_sql(pragma)}
    return frozenset(
        column
        for column, kind in types.items()
        if isinstance(kind, sa.Numeric) and declared.get(column, "") not in ischema_names
    )


def _view(sync: sa.Connection, schema: str | None, table_name: str, quoted: str) -> frozenset[str] | None:
    """Through what one may write to a view; None where it is none, or where the database has no such triggers."""
    if sync.dialect.name == "postgresql":
        takes = sync.execute(sa.text(_VIEW_TAKES), {"name": quoted}).scalar()
        parts = (("INSERT", _INSERT), ("UPDATE", _UPDATE))
        return None if takes is None else frozenset(name for name, bit in parts if takes & bit)
    if sync.dialect.name != "sqlite" or table_name not in sa.inspect(sync).get_view_names(schema):
        return None
    master = _master(schema)
    query = sa.select(master.c.sql).where(master.c.type == "trigger", _same_name(master.c.tbl_name, table_name))
    written = " ".join(sync.scalars(query))
    return frozenset(map(str.upper, re.findall(r"\bINSTEAD\s+OF\s+(INSERT|UPDATE)\b", written, re.IGNORECASE)))


async def near_table(connection: AsyncConnection, name: str) -> str:
    """` (did you mean Orders?)` where a table's name comes near; else empty."""
    schema, table_name = _split(name)

    def names(sync: sa.Connection) -> list[str]:
        inspector = sa.inspect(sync)
        return [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]

    known = await connection.run_sync(names)
    near = [other for other in known if other.casefold() == table_name.casefold()]
    near = near or difflib.get_close_matches(table_name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


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
            _exact(engine, type_for(value, engine.dialect.name, is_key=True))
            if column in key_columns
            else type_for(value, engine.dialect.name, is_key=False),
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


def _exact(engine: AsyncEngine, kind: Any) -> Any:
    """A key's type in which no two texts are the same: by MySQL's defaults `ab`, `AB`, `äb` and `ab ` would be."""
    if engine.dialect.name != "mysql" or not isinstance(kind, sa.String):
        return kind
    if getattr(engine.dialect, "is_mariadb", False):
        collation = "utf8mb4_nopad_bin"
    else:
        is_new = (getattr(engine.dialect, "server_version_info", None) or ()) >= (8, 0, 17)
        collation = "utf8mb4_0900_bin" if is_new else "utf8mb4_bin"
    return mysql.VARCHAR(kind.length, charset="utf8mb4", collation=collation)


def complaint(
    engine: AsyncEngine, name: str, rows: Iterable[Mapping[str, Any]], keys: Iterable[frozenset[str]], known: KnownTable
) -> str | None:
    """What the table lacks to take the rows by their keys, and the SQL that would mend it; None: nothing."""
    preparer = engine.dialect.identifier_preparer
    table = preparer.format_table(known.table)
    for row in rows:
        for column, value in row.items():
            if column in known.filled:
                return f"column {column} of {name} is filled in by the database itself: leave it out"
            if column not in known.types:
                near = difflib.get_close_matches(column, known.types, n=1)
                kind = type_for(value, engine.dialect.name, is_key=False).compile(engine.dialect)
                return (
                    f"table {name} has no column {column}"
                    + (f" (did you mean {near[0]}?)" if near else "")
                    + f"; to add it: ALTER TABLE {table} ADD COLUMN {preparer.quote_identifier(column)} {kind}"
                )
    if known.view is not None:
        return (
            None if "INSERT" in known.view else f"the view {name} takes no rows: give it an INSTEAD OF INSERT trigger"
        )
    lacking = next((key for key in keys if key not in known.unique), None)
    return "; to add one: ".join(lacking_index(engine, name, lacking, known)) if lacking is not None else None


def lacking_index(engine: AsyncEngine, name: str, key: frozenset[str], known: KnownTable) -> tuple[str, str]:
    """That a key has no unique index, in words, and the SQL that adds one."""
    preparer = engine.dialect.identifier_preparer
    ordered = [column for column in known.types if column in key]
    names = ", ".join(preparer.quote_identifier(column) for column in ordered)
    ending = "at_once_key" if key in known.deferrable else "key"  # the constraint's index has the plain name
    index = "_".join([_split(name)[1], *ordered, ending])[:_INDEX_NAME_CHARACTERS]
    table = preparer.format_table(known.table)
    only = (
        " (its constraint there is deferrable, which ON CONFLICT does not take: drop it)"
        if key in known.deferrable
        else ""
    )
    return (
        f"table {name} has no primary key or unique index on exactly ({', '.join(ordered)}){only}, so a second run "
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
