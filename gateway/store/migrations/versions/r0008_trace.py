"""The trace context of an event, which the attempts of its deliveries go on, whenever and wherever they run."""

from alembic import op

from gateway.store.migrations.runner import run_script

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        run_script(bind, "postgresql/0008.sql")
        return
    op.execute("ALTER TABLE events ADD COLUMN trace TEXT")
