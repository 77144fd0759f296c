"""What gateways keep for each other: leases on what only one of them does at a time, and notes of how far it came."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SQLITE = (
    "CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_at INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL, kept_at INTEGER NOT NULL) WITHOUT ROWID",
)
POSTGRESQL = (
    'CREATE TABLE leases (name text COLLATE "C" PRIMARY KEY, holder text NOT NULL, until_at bigint NOT NULL)',
    'CREATE TABLE notes (name text COLLATE "C" PRIMARY KEY, value text NOT NULL, kept_at bigint NOT NULL)',
)


def upgrade() -> None:
    """Makes the tables."""
    for statement in POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE:
        op.execute(statement)
