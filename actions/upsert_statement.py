"""The one statement that inserts, updates, keeps or refuses a row: the database itself decides, so that no other writer
comes between.

Imports SQLAlchemy, which is slow: db_upsert imports this file when it first writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from actions.column_values import fitted
from actions.database_table import KnownTable


def upsert(
    known: KnownTable,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    newest: str | None,
    *,
    is_kept: bool,
    dialect: str,
) -> Any:
    """An INSERT for a row whose columns are `key` and `values`. Where the key is there already: an UPDATE, unless
    `is_kept` or unless the row there has a higher value in the column `newest` (one of `values`). Raises Reject where a
    value does not fit its column.
    """
    bound = _bound(known, {**key, **values}, dialect)
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


def clash_queries(
    known: KnownTable, key: Mapping[str, Any], values: Mapping[str, Any], dialect: str
) -> Iterator[tuple[str, Any, bool]]:
    """MySQL takes a clash on any unique index for the key's. For a row that changed nothing: what tells whether it met
    the row of another key. Each is the clash in words, a query, and whether it is a clash if the query finds a row.
    """
    if dialect != "mysql":
        return
    row = {**key, **values}
    bound = _bound(known, row, dialect)
    column_of = known.table.c
    a_row = sa.select(sa.literal(1)).select_from(known.table).limit(1)
    has_key = sa.and_(*(column_of[column] == bound[column] for column in key))
    yield "a unique index other than the key's has these values already, in another row", a_row.where(has_key), False
    for other in sorted(map(sorted, known.unique - {frozenset(key)})):
        if all(row.get(column) is not None for column in other):
            has_same = [column_of[column] == bound[column] for column in other]
            text = f"the unique index on ({', '.join(other)}) has these values already, in the row of another key"
            yield text, a_row.where(*has_same, sa.not_(has_key)), True


def _bound(known: KnownTable, row: Mapping[str, Any], dialect: str) -> dict[str, Any]:
    return {column: fitted(column, value, known.types[column], dialect) for column, value in row.items()}


def _is_newer(old: Any, new: Any) -> Any:
    return sa.or_(new >= old, old.is_(None))


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
