"""Filters -> PostgreSQL's SQL."""

from __future__ import annotations

import re
from typing import Any

from gateway.model import DeliveryFilter, DeliveryState, EventFilter
from gateway.store.rows import milliseconds


class Terms:
    """A WHERE under construction, and its values."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._terms: list[str] = []

    def mark(self, value: Any) -> str:
        """Binds a value; its mark."""
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, template: str, value: Any) -> None:
        """A condition, with {} where the value goes; left out where the value is None or empty."""
        if value is not None and value != [] and value != ():
            self._terms.append(template.format(self.mark(list(value) if isinstance(value, (list, tuple)) else value)))

    def never(self) -> None:
        """Nothing fits."""
        self._terms.append("false")

    def any_of(self, terms: list[str]) -> None:
        """One of these is enough."""
        self._terms.append("(" + " OR ".join(terms) + ")")

    def __str__(self) -> str:
        return " AND ".join(self._terms) or "true"


def glob_pattern(glob: str) -> str:
    """A glob as a regular expression of PostgreSQL."""
    parts = []
    for part in re.split(r"(\*|\?|\[[^\]]+\])", glob):
        if part == "*":
            parts.append(".*")
        elif part == "?":
            parts.append(".")
        elif part.startswith("[") and part.endswith("]"):
            parts.append("[" + part[1:-1].replace("\\", "\\\\").replace("!", "^", 1 if part[1] == "!" else 0) + "]")
        else:
            parts.append(re.sub(r"([^a-zA-Z0-9_])", r"\\\1", part))
    return "^(?:" + "".join(parts) + ")$"


def event_terms(where: EventFilter) -> Terms:
    """Of a filter on events."""
    terms = Terms()
    terms.add("id = ANY ({}::text[])", where.ids)
    terms.add("account = ANY ({}::text[])", where.accounts)
    terms.add("state = ANY ({}::text[])", where.states)
    terms.add("type ~ ANY ({}::text[])", [glob_pattern(one) for one in where.types])
    terms.add("object_id = {}", where.object_id)
    terms.add("received_at >= {}", None if where.since is None else milliseconds(where.since))
    terms.add("received_at < {}", None if where.until is None else milliseconds(where.until))
    return terms


def delivery_terms(where: DeliveryFilter) -> Terms:
    """Of a filter on deliveries d."""
    terms = Terms()
    terms.add("d.id = ANY ({}::text[])", where.ids)
    terms.add("d.account = ANY ({}::text[])", where.accounts)
    terms.add("d.route = ANY ({}::text[])", where.routes)
    terms.add("d.action = ANY ({}::text[])", where.actions)
    if where.states:  # in the text itself, so that the planner sees which partitions and partial indexes can hold them
        states = [f"d.state = '{state.value}'" for state in DeliveryState if state in where.states]
        terms.any_of(states) if states else terms.never()
    terms.add("d.event_seq = ANY (ARRAY(SELECT seq FROM events WHERE id = ANY ({}::text[])))", where.event_ids)
    if where.lanes is not None:
        lanes = [f"(d.route = {terms.mark(r)} AND d.action = {terms.mark(a)})" for r, a in where.lanes]
        terms.any_of(lanes) if lanes else terms.never()
    terms.add("d.created_at >= {}", None if where.since is None else milliseconds(where.since))
    terms.add("d.created_at < {}", None if where.until is None else milliseconds(where.until))
    return terms
