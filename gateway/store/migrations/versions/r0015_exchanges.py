"""What an attempt sent, and what was answered."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a column, empty for what was before."""
    kind = 'text COLLATE "C"' if op.get_bind().dialect.name == "postgresql" else "TEXT"
    op.execute(f"ALTER TABLE attempts ADD COLUMN exchanges {kind}")
