"""Keys that a database takes for the same though they are not: by a column's collation, or by its type.

Imports SQLAlchemy, which is slow: db_upsert's probe imports this file when it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from actions.database_table import KnownTable

_MYSQL = sa.text(
    "SELECT column_name, collation_name FROM information_schema.columns "
    "WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name AND collation_name IS NOT NULL"
)
_POSTGRESQL = sa.text(
    "SELECT a.attname, COALESCE(c.collname, 'citext') FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
    "LEFT JOIN pg_collation c ON c.oid = a.attcollation AND NOT c.collisdeterministic "
    "WHERE a.attrelid = to_regclass(:quoted) AND (c.oid IS NOT NULL OR t.typname = 'citext')"
)
_SQLITE = sa.text(
    "SELECT x.name, x.coll FROM pragma_index_list(:name) l, pragma_index_xinfo(l.name) x "
    "WHERE x.key AND l.\"unique\" AND x.coll <> 'BINARY'"
)


async def key_doubt(connection: AsyncConnection, known: KnownTable, key: Sequence[str]) -> tuple[str, str] | None:
    """What is doubtful about the columns of a key, and what would mend it; None: nothing."""
    by_affinity = sorted(known.by_affinity & set(key))
    if by_affinity:
        return (
            f"key column {by_affinity[0]} has a type that SQLite does not know: a text that looks like a number "
            "becomes one there, 007 and 7 the same key",
            "make it TEXT",
        )
    dialect, table = connection.dialect.name, known.table
    query: Any = {"mysql": _MYSQL, "postgresql": _POSTGRESQL}.get(dialect, _SQLITE)
    given: Any = {
        "mysql": {"schema": table.schema, "name": str(table.name)},
        "postgresql": {"quoted": connection.dialect.identifier_preparer.format_table(table)},
    }.get(dialect, {"name": str(table.name)})
    for column, collation in await connection.execute(query, given):
        is_exact = dialect == "mysql" and (collation.endswith("_bin") or collation == "binary")
        if column in key and not is_exact:
            return (
                f"key column {column} has the collation {collation}, by which keys that differ in case or accents "
                "may be one row",
                f"give {column} a binary collation",
            )
    return None
