"""Digests: the events that a delivery brings beside its own. Marks: when something was last done or told."""

from alembic import op

from gateway.store.migrations.runner import run_script

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SQLITE = (
    "ALTER TABLE deliveries ADD COLUMN digest TEXT",
    "CREATE TABLE marks (name TEXT PRIMARY KEY, marked_at INTEGER NOT NULL) WITHOUT ROWID",
)


def upgrade() -> None:
    """Adds them."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        run_script(bind, "postgresql/0009.sql")
        return
    for statement in SQLITE:
        op.execute(statement)
