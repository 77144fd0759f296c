"""Deliveries keep what people said of them, and may end `expired`."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FINISHED = "'succeeded', 'skipped', 'cancelled', 'dead', 'expired'"
POSTGRESQL = (
    'ALTER TABLE deliveries ADD COLUMN word text COLLATE "C"',
    # Checked while others work, so that they need not wait while it is attached.
    f"ALTER TABLE deliveries_finished ADD CONSTRAINT finished CHECK (state IN ({FINISHED})) NOT VALID",
    "ALTER TABLE deliveries_finished VALIDATE CONSTRAINT finished",
    "ALTER TABLE deliveries DETACH PARTITION deliveries_finished",
    f"ALTER TABLE deliveries ATTACH PARTITION deliveries_finished FOR VALUES IN ({FINISHED})",
    "ALTER TABLE deliveries_finished DROP CONSTRAINT finished",
)
SQLITE = ("ALTER TABLE deliveries ADD COLUMN word TEXT",)


def upgrade() -> None:
    """Adds the column, and the state to the partition of those that have ended."""
    for statement in POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE:
        op.execute(statement)
