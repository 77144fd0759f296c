"""The one statement that inserts, updates, keeps or refuses a row: the database itself decides, so that no other writer
comes between. Through a view, which takes no such statement, there are several.

Imports SQLAlchemy, which is slow: db_upsert imports this file when it first writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from actions.column_values import fitted
from actions.database_row import Row
from actions.database_table import KnownTable


def upsert(known: KnownTable, row: Row, *, is_kept: bool, dialect: str) -> Any:
    """An INSERT for a row. Where the key is there already: an UPDATE to its `values`, unless `is_kept` or unless the
    row there has a higher value in the column `newest`. Raises Reject where a value does not fit its column.
    """
    bound = _bound(known, row, dialect)
    key, values, newest = row.key, row.values, row.newest
    is_update = bool(values) and not is_kept
    if dialect == "mysql":
        return _mysql(known.table, bound, list(key), list(values) if is_update else [], newest)
    insert: Any = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(known.table).values(bound)
    if not is_update:
        return insert.on_conflict_do_nothing(index_elements=list(key))
    where = None
    if newest is not None:
        where = _is_newer(known.table.c[newest], insert.excluded[newest])
    changes = {column: insert.excluded[column] for column in values}
    return insert.on_conflict_do_update(index_elements=list(key), set_=changes, where=where)


async def write_through_view(
    connection: AsyncConnection, known: KnownTable, row: Row, *, is_kept: bool, dialect: str
) -> bool:
    """Writes a row to a view: an UPDATE where its key is seen there, else an INSERT, which INSTEAD OF triggers may
    do. A view that takes no UPDATE is given an INSERT each time. True where it was written.
    """
    view, bound = known.view or frozenset(), _bound(known, row, dialect)
    if "UPDATE" in view:
        if dialect == "postgresql":  # of two gateways with the same key, the second waits and then sees the first's row
            lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext(repr(sorted(row.key.items()))))
            await connection.execute(sa.select(lock))
        has_key = _has_key(known, row, bound)
        if await connection.scalar(_a_row(known, has_key)) is not None:
            if is_kept or not row.values:
                return False
            if row.newest is not None:
                has_key = sa.and_(has_key, _is_newer_bound(known, row.newest, bound))
                if await connection.scalar(_a_row(known, has_key)) is None:
                    return False
            changes = {column: bound[column] for column in row.values}
            await connection.execute(sa.update(known.table).where(has_key).values(changes))
            return True
    await connection.execute(sa.insert(known.table).values(bound))
    return True


def read_back(known: KnownTable, row: Row, columns: list[str], dialect: str) -> Any:
    """A query for columns of the row as it is now."""
    bound = _bound(known, row, dialect)
    named = [known.table.c[known.name_of(column)].label(column) for column in columns]
    return sa.select(*named).where(_has_key(known, row, bound)).limit(1)


def raw_columns(known: KnownTable, row: Row, columns: Iterable[str], dialect: str) -> Any:
    """The same, to be compared: of SQLite as they are stored, since a column there may hold what its type does not."""
    bound = _bound(known, row, dialect)
    named: list[Any] = [known.table.c[column] for column in (*row.key, *columns)]
    if dialect == "sqlite":
        named = [sa.type_coerce(column, sa.types.NullType()).label(column.name) for column in named]
    return sa.select(*named).where(_has_key(known, row, bound)).limit(1)


def clash_queries(known: KnownTable, row: Row, dialect: str) -> Iterator[tuple[str, Any, bool]]:
    """MySQL takes a clash on any unique index for the key's. For a row that changed nothing: what tells whether it met
    the row of another key. Each is the clash in words, a query, and whether it is a clash if the query finds a row.
    """
    if dialect != "mysql":
        return
    bound, columns = _bound(known, row, dialect), row.columns
    has_key = _has_key(known, row, bound)
    yield "a unique index other than the key's has these values already, in another row", _a_row(known, has_key), False
    for other in sorted(map(sorted, known.unique - {frozenset(row.key)})):
        if all(columns.get(column) is not None for column in other):
            has_same = [known.table.c[column] == bound[column] for column in other]
            text = f"the unique index on ({', '.join(other)}) has these values already, in the row of another key"
            yield text, _a_row(known, sa.and_(*has_same, sa.not_(has_key))), True


def _bound(known: KnownTable, row: Row, dialect: str) -> dict[str, Any]:
    return {column: fitted(column, value, known.types[column], dialect) for column, value in row.columns.items()}


def _a_row(known: KnownTable, where: Any) -> Any:
    return sa.select(sa.literal(1)).select_from(known.table).where(where).limit(1)


def _has_key(known: KnownTable, row: Row, bound: Mapping[str, Any]) -> Any:
    return sa.and_(*(known.table.c[column] == bound[column] for column in row.key))


def _is_newer(old: Any, new: Any) -> Any:
    return sa.or_(new >= old, old.is_(None))


def _is_newer_bound(known: KnownTable, newest: str, bound: Mapping[str, Any]) -> Any:
    old = known.table.c[newest]
    return sa.or_(old <= bound[newest], old.is_(None))


def _mysql(table: sa.Table, bound: Mapping[str, Any], key: list[str], values: list[str], newest: str | None) -> Any:
    insert = mysql.insert(table).values(bound)
    new = insert.inserted
    if not values:  # not INSERT IGNORE, which would hide faulty values too
        return insert.on_duplicate_key_update([(key[0], table.c[key[0]])])
    # a clash on another unique index must not change that other row: see clash_queries
    fits = sa.and_(*(table.c[column] == new[column] for column in key))
    if newest is not None:
        fits = sa.and_(fits, _is_newer(table.c[newest], new[newest]))
    # MySQL assigns from left to right: the column that decides must change last
    ordered = [column for column in values if column != newest] + [column for column in values if column == newest]
    return insert.on_duplicate_key_update(
        [(column, sa.func.if_(fits, new[column], table.c[column])) for column in ordered]
    )
