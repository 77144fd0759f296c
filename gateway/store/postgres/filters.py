"""Filters -> PostgreSQL's SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Any

from gateway.core.model import DeliveryFilter, DeliveryState, Event, EventFilter, RejectedFilter
from gateway.store.encoding.compression import MARK, plain_or_nothing
from gateway.store.keeping import kept_text
from gateway.store.records import EVENT, event_of, milliseconds

DAY_MS = 86_400_000


class Terms:
    """A WHERE under construction, and the statement's values, which it may share with other parts of it."""

    def __init__(self, values: list[Any] | None = None) -> None:
        self.values: list[Any] = [] if values is None else values
        self._terms: list[str] = []

    def mark(self, value: Any) -> str:
        """Binds a value; its mark."""
        if isinstance(value, (list, tuple)):
            value = [kept_text(member) if isinstance(member, str) else member for member in value]
        self.values.append(kept_text(value) if isinstance(value, str) else value)
        return f"${len(self.values)}"

    def add(self, template: str, value: Any) -> None:
        """A condition, with {} where the value goes; left out where the value is None or empty."""
        if value is not None and value != [] and value != ():
            self._terms.append(template.format(self.mark(value)))

    def never(self) -> None:
        """Nothing fits."""
        self._terms.append("false")

    def any_of(self, terms: list[str]) -> None:
        """One of these is enough."""
        self._terms.append("(" + " OR ".join(terms) + ")")

    def __str__(self) -> str:
        return " AND ".join(self._terms) or "true"


def glob_pattern(glob: str) -> str:
    """A glob, or what is written as one, as a regular expression of PostgreSQL."""
    parts = []
    for part in re.split(r"(\*|\?|\[[^\]]+\])", glob):
        if part == "*":
            parts.append(".*")
        elif part == "?":
            parts.append(".")
        elif part.startswith("[") and part.endswith("]"):
            parts.append(_one_of(part[1:-1]))
        else:
            parts.append(_literal(part))
    return "^(?:" + "".join(parts) + "|" + _literal(glob) + ")$"


def _literal(plain: str) -> str:
    return re.sub(r"([^a-zA-Z0-9_])", r"\\\1", plain)


def _one_of(inner: str) -> str:
    """What stands between the brackets of a glob; a range that runs backwards holds nothing."""
    negated = inner[:1] in ("!", "^") and len(inner) > 1
    members = ""
    for single, low, high in re.findall(r"(.)-(.)|(.)", inner[1:] if negated else inner, re.DOTALL):
        if high:
            members += _literal(high)
        elif single <= low:
            members += f"{_literal(single)}-{_literal(low)}"
    if not members:
        return "." if negated else r"[^\s\S]"
    return f"[{'^' if negated else ''}{members}]"


def event_terms(where: EventFilter, values: list[Any] | None = None) -> Terms:
    """Of a filter on events. What purging left of an event has a negative seq."""
    terms = Terms(values)
    terms.any_of(["seq > 0"])
    terms.add("id = ANY ({}::text[])", where.ids)
    event_kind_terms(where, terms)
    terms.add(f"seq = ANY (ARRAY({_OF_OBJECT}))", None if where.object_id is None else [where.object_id])
    terms.add(f"seq = ANY (ARRAY({_OF_OBJECT}))", where.object_ids)
    terms.add("received_at >= {}", None if where.since is None else milliseconds(where.since))
    terms.add("received_at < {}", None if where.until is None else milliseconds(where.until))
    may_hold = f"({_IS_PACKED} OR position({{}}::bytea IN body) > 0)"
    terms.add(may_hold, where.text.encode(errors="replace") if where.text else None)
    return terms


_IS_PACKED = f"substr(body, 1, {len(MARK)}) = '\\x{MARK.hex()}'::bytea"  # the server does not look inside
EVENT_SEARCHED = EVENT.replace("body", f"CASE WHEN {_IS_PACKED} THEN body END AS body")


def events_holding(rows: Iterable[Any], text: str, limit: int) -> list[tuple[int, Event]]:
    """The first events, and their numbers, that hold a text, of rows with the columns EVENT_SEARCHED that
    `event_terms` has let through. Bodies are left empty.
    """
    needle = text.encode(errors="replace")
    wanted = (row for row in rows if row["body"] is None or needle in plain_or_nothing(row["body"]))
    return [(row["seq"], replace(event_of(row), body=b"")) for row in islice(wanted, limit)]


_OF_OBJECT = (
    "SELECT e.seq FROM (SELECT min(seq) AS low, max(seq) AS high FROM events WHERE seq > 0) ends, generate_series("
    f"(SELECT received_at FROM events WHERE seq = ends.low) / {DAY_MS} - 1,"
    f" (SELECT received_at FROM events WHERE seq = ends.high) / {DAY_MS} + 1) AS day,"
    f" LATERAL (SELECT seq FROM events WHERE received_at / {DAY_MS} = day AND object_id = ANY ({{0}}::text[])"
    " AND hashtext(object_id) = ANY (ARRAY(SELECT hashtext(id) FROM unnest({0}::text[]) AS id)) OFFSET 0) e"
)
"""One look into the index for each day, and one more at each end for clocks that were set back."""


def event_kind_terms(where: EventFilter, terms: Terms) -> None:
    """The part of a filter on events that tells by their kind."""
    terms.add("account = ANY ({}::text[])", where.accounts)
    terms.add("state = ANY ({}::text[])", where.states)
    terms.add("type ~ ANY ({}::text[])", [glob_pattern(pattern) for pattern in where.types])


def delivery_terms(where: DeliveryFilter, values: list[Any] | None = None) -> Terms:
    """Of a filter on deliveries d."""
    terms = Terms(values)
    terms.add("d.id = ANY ({}::text[])", where.ids)
    delivery_kind_terms(where, terms)
    if where.waiting:
        terms.any_of(["d.waits_until IS NOT NULL AND d.state IN ('blocked', 'pending')"])
    terms.add("d.event_seq = ANY (ARRAY(SELECT seq FROM events WHERE id = ANY ({}::text[])))", where.event_ids)
    terms.add("d.created_at >= {}", None if where.since is None else milliseconds(where.since))
    terms.add("d.created_at < {}", None if where.until is None else milliseconds(where.until))
    return terms


def delivery_kind_terms(where: DeliveryFilter, terms: Terms) -> None:
    """The part of a filter on deliveries d that tells by their kind."""
    terms.add("d.account = ANY ({}::text[])", where.accounts)
    terms.add("d.route = ANY ({}::text[])", where.routes)
    terms.add("d.action = ANY ({}::text[])", where.actions)
    if where.states:  # in the text itself, so that the planner sees which partitions and partial indexes can hold them
        states = [f"d.state = '{state.value}'" for state in DeliveryState if state in where.states]
        terms.any_of(states) if states else terms.never()
    if where.lanes is not None:
        lanes = [f"(d.route = {terms.mark(r)} AND d.action = {terms.mark(a)})" for r, a in where.lanes]
        terms.any_of(lanes) if lanes else terms.never()


def rejected_terms(where: RejectedFilter) -> Terms:
    """Of a filter on rejected requests."""
    terms = Terms()
    terms.add("id = ANY ({}::text[])", where.ids)
    terms.add("account = ANY ({}::text[])", where.accounts)
    terms.add("reason = ANY ({}::text[])", where.reasons)
    terms.add("received_at >= {}", None if where.since is None else milliseconds(where.since))
    terms.add("received_at < {}", None if where.until is None else milliseconds(where.until))
    return terms
