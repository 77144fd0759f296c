"""What waits, by connection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.config.load import Config
from gateway.store.answers import LaneState
from gateway.telemetry.metrics import Queue

NO_CONNECTION = "none"


def queues(config: Config, lanes: Sequence[LaneState], now: datetime) -> dict[str, Queue]:
    """What waits for each connection; deliveries of actions without one, or that are gone, stand under `none`."""
    used = {(r.name, a.name): a.connection or NO_CONNECTION for r in config.routes for a in r.actions}
    counts: dict[str, dict[str, int]] = {
        name: dict.fromkeys(("pending", "running", "blocked", "dead"), 0)
        for name in (*config.connections, NO_CONNECTION)
    }
    oldest: dict[str, float] = {}
    for state in lanes:
        name = used.get((state.lane.route, state.lane.action), NO_CONNECTION)
        for word, count in state.counts.items():
            counts[name][word] += count
        if state.oldest_at is not None:
            oldest[name] = max(oldest.get(name, 0.0), (now - state.oldest_at).total_seconds())
    return {name: Queue(counts[name], oldest.get(name, 0.0)) for name in counts}
