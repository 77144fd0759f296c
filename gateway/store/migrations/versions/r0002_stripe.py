"""What Stripe adds: objects fetched for a run, the two forms of one event, the API version that templates expect."""

from alembic import op

from gateway.store.migrations.runner import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SQLITE = (
    "ALTER TABLE events ADD COLUMN written_for TEXT",
    "ALTER TABLE events ADD COLUMN twin TEXT",
    "CREATE UNIQUE INDEX events_twin ON events (account, twin) WHERE twin IS NOT NULL",
    "ALTER TABLE deliveries ADD COLUMN fetched TEXT",
)


def upgrade() -> None:
    """Adds the columns."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        run_script(bind, "postgresql/0002.sql")
        return
    for statement in SQLITE:
        op.execute(statement)
