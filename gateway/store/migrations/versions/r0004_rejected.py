"""Requests that were rejected, kept apart from the inbox."""

from alembic import op

from gateway.store.migrations.runner import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SQLITE = (
    """
    CREATE TABLE rejected (
      seq INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      received_at INTEGER NOT NULL,
      account TEXT,
      reason TEXT NOT NULL,
      address TEXT NOT NULL,
      peer TEXT NOT NULL,
      forwarded_for TEXT,
      signature TEXT,
      size INTEGER NOT NULL,
      body BLOB NOT NULL
    )
    """,
    "CREATE INDEX rejected_shares ON rejected (address, seq DESC, size)",
    "CREATE INDEX rejected_age ON rejected (received_at)",
)


def upgrade() -> None:
    """Makes the table."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        run_script(bind, "postgresql/0004.sql")
        return
    for statement in SQLITE:
        op.execute(statement)
