"""Connections and their pauses, shared rates, what is remembered of purged deliveries, and indexes that find whose turn
it is without walking those that wait.
"""

from alembic import op

from gateway.store.migrations.runner import run_script

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SQLITE = (
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
    # one for each state, so that a query's `state = '...'` is the index's own, and `held` the next column of it
    """
    CREATE INDEX deliveries_order_pending ON deliveries (order_key, held)
    WHERE order_key IS NOT NULL AND state = 'pending'
    """,
    "CREATE INDEX deliveries_order_running ON deliveries (order_key) WHERE order_key IS NOT NULL AND state = 'running'",
    """
    CREATE INDEX deliveries_once_pending ON deliveries (once_key, held)
    WHERE once_key IS NOT NULL AND state = 'pending'
    """,
    "CREATE INDEX deliveries_once_running ON deliveries (once_key) WHERE once_key IS NOT NULL AND state = 'running'",
    "CREATE INDEX deliveries_once_done ON deliveries (once_key) WHERE once_key IS NOT NULL AND state = 'succeeded'",
)


def upgrade() -> None:
    """Makes them."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        run_script(bind, "postgresql/0005.sql")
        return
    for statement in SQLITE:
        op.execute(statement)
