"""From version 0.1.0's schema to the baseline: functions that only programs before it called go."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_KEYS = "text[], text[], text[], text[], text[], boolean[], text[], text[], text[]"
_EVENTS = "text[], text[], text[], text[], boolean[], bigint[], text[], text[], text[], text[]"
POSTGRESQL = (
    f"DROP FUNCTION add_events(bigint, {_EVENTS}, bytea[], integer[], {_KEYS})",
    f"DROP FUNCTION add_events(bigint, {_EVENTS}, text[], text[], bytea[], integer[], {_KEYS})",
    f"DROP FUNCTION add_events(bigint, {_EVENTS}, text[], text[], bytea[], integer[], {_KEYS}, text[])",
    f"DROP FUNCTION replay_event(bigint, text, text, {_KEYS})",
    "DROP FUNCTION claim_due(bigint, bigint, text, text[], text[], text[], integer[])",
    "DROP FUNCTION retry_deliveries(bigint, text[])",
)


def upgrade() -> None:
    """Drops them."""
    if op.get_bind().dialect.name == "postgresql":
        for statement in POSTGRESQL:
            op.execute(statement)
