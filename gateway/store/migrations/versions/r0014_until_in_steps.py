"""PostgreSQL cancels what waits under one key of `until` in steps: functions alone, which every upgrade runs anew."""

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Changes no table."""
