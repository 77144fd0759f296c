"""The schema of version 0.1.0: the oldest that a later version takes over."""

revision = "0009"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Never runs: a new installation begins with schema.sql, at HEAD."""
    raise AssertionError("a new installation does not come by here")
