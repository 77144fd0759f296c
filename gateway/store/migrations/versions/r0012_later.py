"""Deliveries that wait until a time, and the events that cancel them; functions that no other calls any more go."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

POSTGRESQL = (
    "ALTER TABLE deliveries ADD COLUMN waits_until bigint",
    'ALTER TABLE deliveries ADD COLUMN until_key text COLLATE "C"',
    "CREATE INDEX deliveries_waiting ON deliveries_open (waits_until) WHERE waits_until IS NOT NULL",
    "CREATE INDEX deliveries_until ON deliveries_open (until_key) WHERE until_key IS NOT NULL",
    """
    CREATE TABLE until_events (
      until_key text COLLATE "C" PRIMARY KEY,
      event_seq bigint NOT NULL,
      event_id text COLLATE "C" NOT NULL,
      event_type text COLLATE "C" NOT NULL,
      happened_at bigint NOT NULL,
      seen_at bigint NOT NULL
    )
    """,
    "CREATE INDEX until_events_age ON until_events (seen_at)",
    "DROP FUNCTION IF EXISTS release_dependents(bigint, bigint[], text[])",
    "DROP FUNCTION IF EXISTS skip_dependents(bigint, bigint, text, text, text)",
)
SQLITE = (
    "ALTER TABLE deliveries ADD COLUMN waits_until INTEGER",
    "ALTER TABLE deliveries ADD COLUMN until_key TEXT",
    "CREATE INDEX deliveries_waiting ON deliveries (waits_until)"
    " WHERE waits_until IS NOT NULL AND state IN ('blocked', 'pending')",
    "CREATE INDEX deliveries_until ON deliveries (until_key)"
    " WHERE until_key IS NOT NULL AND state IN ('blocked', 'pending')",
    """
    CREATE TABLE until_events (
      until_key TEXT PRIMARY KEY,
      event_seq INTEGER NOT NULL,
      event_id TEXT NOT NULL,
      event_type TEXT NOT NULL,
      happened_at INTEGER NOT NULL,
      seen_at INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX until_events_age ON until_events (seen_at)",
)


def upgrade() -> None:
    """Adds them."""
    for statement in POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE:
        op.execute(statement)
