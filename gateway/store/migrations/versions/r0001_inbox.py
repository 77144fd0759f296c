"""The inbox: events, deliveries, attempts. Times are integer milliseconds since 1970, UTC."""

from alembic import op

from gateway.store.migrations.runner import run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQLITE = (
    """
    CREATE TABLE events (
      seq INTEGER PRIMARY KEY,
      account TEXT NOT NULL,
      id TEXT NOT NULL,
      type TEXT NOT NULL,
      state TEXT NOT NULL,
      livemode INTEGER,
      received_at INTEGER NOT NULL,
      created_at INTEGER,
      connected_account TEXT,
      object_id TEXT,
      api_version TEXT,
      source TEXT NOT NULL,
      body BLOB NOT NULL,
      UNIQUE (account, id)
    )
    """,
    """
    CREATE TABLE deliveries (
      seq INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      event_seq INTEGER NOT NULL REFERENCES events (seq),
      run_id TEXT NOT NULL,
      account TEXT NOT NULL,
      route TEXT NOT NULL,
      action TEXT NOT NULL,
      needs TEXT NOT NULL,
      has_dependents INTEGER NOT NULL,
      state TEXT NOT NULL,
      held INTEGER NOT NULL DEFAULT 0,
      due_at INTEGER NOT NULL,
      attempts INTEGER NOT NULL DEFAULT 0,
      runs INTEGER NOT NULL DEFAULT 0,
      created_at INTEGER NOT NULL,
      finished_at INTEGER,
      claimed_at INTEGER,
      lease_until INTEGER,
      token TEXT,
      judged INTEGER NOT NULL DEFAULT 1,
      once_key TEXT,
      order_key TEXT,
      reason TEXT,
      last_error TEXT,
      rendered TEXT,
      output TEXT
    )
    """,
    "CREATE INDEX deliveries_event ON deliveries (event_seq)",
    """
    CREATE INDEX deliveries_due ON deliveries (account, route, action, due_at)
    WHERE state = 'pending' AND held = 0
    """,
    "CREATE INDEX deliveries_running ON deliveries (lease_until) WHERE state = 'running'",
    """
    CREATE INDEX deliveries_order ON deliveries (order_key, seq)
    WHERE order_key IS NOT NULL AND state IN ('pending', 'running')
    """,
    """
    CREATE INDEX deliveries_once ON deliveries (once_key, seq)
    WHERE once_key IS NOT NULL AND state IN ('pending', 'running', 'succeeded')
    """,
    "CREATE INDEX deliveries_dead ON deliveries (seq) WHERE state = 'dead'",
    """
    CREATE TABLE attempts (
      delivery_seq INTEGER NOT NULL REFERENCES deliveries (seq),
      number INTEGER NOT NULL,
      started_at INTEGER NOT NULL,
      duration_ms INTEGER NOT NULL,
      outcome TEXT NOT NULL,
      error TEXT,
      PRIMARY KEY (delivery_seq, number)
    ) WITHOUT ROWID
    """,
)


def upgrade() -> None:
    """Makes the tables."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        run_script(bind, "postgresql/0001.sql")
        return
    for statement in SQLITE:
        op.execute(statement)
