"""PostgreSQL finds objects by a hash of their id: the index takes a quarter of the room. A gateway of the version
before finds them meanwhile by looking through a day's events.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

POSTGRESQL = (
    "DROP INDEX events_object",
    "CREATE INDEX events_object ON events ((received_at / 86400000), hashtext(object_id)) WHERE object_id IS NOT NULL",
)


def upgrade() -> None:
    """Makes the index anew."""
    for statement in POSTGRESQL if op.get_bind().dialect.name == "postgresql" else ():
        op.execute(statement)
