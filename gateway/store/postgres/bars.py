"""Statements that count and time what happened in stretches of time: they take where each begins and where it ends."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.model import FINAL_STATES, EventState

EVENT_STATES = tuple(state.value for state in EventState)
ENDED_STATES = tuple(sorted(state.value for state in FINAL_STATES))


def _buckets(table: str, time: str, states: Sequence[str]) -> str:
    """How many rows there are of each state, a column for each: grouping by it would take twice as long."""
    counts = ", ".join(f"count(*) FILTER (WHERE state = '{state}')" for state in states)
    return f"""
SELECT counted.* FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS stretch(low, high, place), LATERAL (
  SELECT {counts} FROM {table} WHERE {time} >= stretch.low AND {time} < stretch.high
) counted ORDER BY stretch.place
"""


EVENT_BUCKETS = _buckets("events", "received_at", EVENT_STATES)
ENDED_BUCKETS = _buckets("deliveries_finished", "finished_at", ENDED_STATES)
LATENCIES = """
SELECT stretch.place, t.took FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS stretch(low, high, place),
LATERAL (
  SELECT finished_at - created_at AS took FROM deliveries_finished
  WHERE finished_at >= stretch.low AND finished_at < stretch.high AND state = 'succeeded'
  ORDER BY finished_at DESC LIMIT $3
) t
"""
