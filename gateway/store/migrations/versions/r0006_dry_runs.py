"""Dry runs: on PostgreSQL, functions that know them. SQLite's tables stay as they are."""

from alembic import op

from gateway.store.migrations.runner import run_script

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replaces the functions."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        run_script(bind, "postgresql/0006.sql")
