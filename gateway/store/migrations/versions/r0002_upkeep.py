"""Connections and their pauses, shared rates, what is remembered of purged deliveries, and indexes that find whose turn
it is without walking those that wait.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE connections (
      name TEXT PRIMARY KEY,
      version INTEGER NOT NULL,
      state TEXT NOT NULL,
      since INTEGER NOT NULL,
      until INTEGER,
      reason TEXT,
      failures INTEGER NOT NULL,
      pauses INTEGER NOT NULL,
      failed_delivery TEXT
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE rates (
      name TEXT PRIMARY KEY,
      tokens REAL NOT NULL,
      filled_at INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE done_once (
      once_key TEXT PRIMARY KEY,
      delivery_id TEXT NOT NULL,
      done_at INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX done_once_age ON done_once (done_at)",
    "DROP INDEX deliveries_order",
    "DROP INDEX deliveries_once",
    """
    CREATE INDEX deliveries_order ON deliveries (order_key, state, held)
    WHERE order_key IS NOT NULL AND state IN ('pending', 'running')
    """,
    """
    CREATE INDEX deliveries_once ON deliveries (once_key, state, held)
    WHERE once_key IS NOT NULL AND state IN ('pending', 'running', 'succeeded')
    """,
)


def upgrade() -> None:
    """Makes them."""
    for statement in STATEMENTS:
        op.execute(statement)
