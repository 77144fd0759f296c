"""From version 0.1.0's schema to the baseline: functions that only programs before it called go, keys that no index
takes are kept by their hash, and SQLite remembers which numbers were given.
"""

from alembic import op
from sqlalchemy import text

from gateway.store.keeping import kept_key

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_KEYS = "text[], text[], text[], text[], text[], boolean[], text[], text[], text[]"
_EVENTS = "text[], text[], text[], text[], boolean[], bigint[], text[], text[], text[], text[]"
POSTGRESQL = (
    f"DROP FUNCTION add_events(bigint, {_EVENTS}, bytea[], integer[], {_KEYS})",
    f"DROP FUNCTION add_events(bigint, {_EVENTS}, text[], text[], bytea[], integer[], {_KEYS})",
    f"DROP FUNCTION add_events(bigint, {_EVENTS}, text[], text[], bytea[], integer[], {_KEYS}, text[])",
    f"DROP FUNCTION replay_event(bigint, text, text, {_KEYS})",
    "DROP FUNCTION claim_due(bigint, bigint, text, text[], text[], text[], integer[])",
    "DROP FUNCTION retry_deliveries(bigint, text[])",
)
SQLITE = ("CREATE TABLE numbers (name TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID",)


def upgrade() -> None:
    """Drops, makes and changes them."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in POSTGRESQL if is_postgresql else SQLITE:
        op.execute(statement)
    if is_postgresql:
        unusual = "octet_length({0}) > 2000"
    else:  # of text with a NUL inside, SQLite's length is that of what is before it
        unusual = "length({0}) > 2000 OR length({0}) <> length(CAST({0} AS BLOB))"
    for table, place, column in (
        ("deliveries", "seq", "once_key"),
        ("deliveries", "seq", "order_key"),
        ("done_once", "once_key", "once_key"),
    ):
        bind = op.get_bind()
        rows = bind.execute(text(f"SELECT {place}, {column} FROM {table} WHERE {unusual.format(column)}")).fetchall()
        for row_place, key in rows:
            if kept_key(key) != key:
                change = text(f"UPDATE {table} SET {column} = :kept WHERE {place} = :place")
                bind.execute(change, {"kept": kept_key(key), "place": row_place})
