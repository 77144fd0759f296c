"""Watches for events of another API version than the templates were written for: counted, and said once a day.

Stripe moves fields between versions (https://docs.stripe.com/upgrades); a template that reads a moved field may do
nothing, silently.
"""

from __future__ import annotations

from collections import Counter

from structlog.typing import FilteringBoundLogger

from gateway.core.model import Event

SAY_AGAIN_SECONDS = 86400.0
MOST_VERSIONS = 1000  # versions come from outside: bounded


class VersionWatch:
    """One for each gateway. `counts` is by account and version, since the start."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._log = log
        self._said: dict[tuple[str, str], float] = {}

    def saw(self, event: Event, now_seconds: float) -> None:
        """Takes note of one event that was stored."""
        if event.written_for is None or event.api_version is None:
            return
        kind = (event.account, event.api_version)
        if kind not in self.counts and len(self.counts) >= MOST_VERSIONS:
            return
        self.counts[kind] += 1
        said = self._said.get(kind)
        if said is not None and now_seconds - said < SAY_AGAIN_SECONDS:
            return
        self._said[kind] = now_seconds
        self._log.warning(
            "event.other_api_version",
            account=event.account,
            event_id=event.id,
            api_version=event.api_version,
            written_for=event.written_for,
            count=self.counts[kind],
            hint="fields may have moved: give the endpoint the templates' version, or the templates the endpoint's; "
            "it is handled, and said once a day",
        )
