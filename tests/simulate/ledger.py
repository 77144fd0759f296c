"""The books, kept outside of the gateways: what was answered, what ran, what took effect; and whether they agree."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.core.model import NEEDED, was_dry
from tests.simulate.config import (
    APPROVED,
    EXPIRING,
    FEWEST_ATTEMPTS,
    MOST_ATTEMPTS,
    NEEDS,
    NEEDS_DEATH,
    ODD_ATTEMPTS,
    SECRETS,
)
from tests.simulate.later import LaterBooks
from tests.simulate.loop import Process, SimulatedLoop, current_process

DAY_MS = 86_400_000


@dataclass
class Run:
    """One run of an action."""

    process: Process
    is_over: bool = False


class Ledger:
    """One a scenario."""

    def __init__(self, loop: SimulatedLoop, file: Path) -> None:
        self._loop = loop
        self._began = loop.now
        self._file = file
        self._inbox: sqlite3.Connection | None = None
        self.story: list[str] = []
        self.answered: set[str] = set()  # ids of events that got a 200
        self.sent: set[str] = set()
        self.once: dict[str, str | None] = {}  # by event: what `once_per` names in it
        self.effects: Counter[str] = Counter()
        self.rejected: set[str] = set()
        self.revived: set[str] = set()  # a person retried them, perhaps before what they need
        self.runs: dict[str, list[Run]] = {}
        self.counted: Counter[str] = Counter()  # runs since a person revived the delivery
        self.excused: set[str] = set()  # deliveries whose lease a person, a frozen process or a clock has ended
        self.purged: dict[str, list[sqlite3.Row]] = {}
        self.log: list[str] = []
        self.findings: list[str] = []
        self.later = LaterBooks(loop, self.inbox, self.finds)

    def now(self) -> float:
        """Seconds of the world."""
        return self._loop.now

    def answers(self, event_id: str) -> None:
        """An event got a 200."""
        if event_id not in self.answered:
            self.answered.add(event_id)
            self.later.answered(event_id)

    # -- what is told -----------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """A line of the story."""
        process = current_process()
        who = "" if process is None else f"{process.name}: "
        self.story.append(f"{self._loop.now - self._began:9.3f} {who}{text}")

    def finds(self, text: str) -> None:
        """Something that must not be."""
        self.tell(f"FINDING: {text}")
        self.findings.append(text)

    def inbox(self, sql: str, *args: Any) -> list[sqlite3.Row]:
        """What lies in the store's file."""
        if self._inbox is None:
            self._inbox = sqlite3.connect(self._file, isolation_level=None)
            self._inbox.row_factory = sqlite3.Row
            self._inbox.execute("PRAGMA query_only=1")
        return self._inbox.execute(sql, args).fetchall()

    def close(self) -> None:
        """Frees the file."""
        if self._inbox is not None:
            self._inbox.close()

    def revives(self, delivery_ids: Sequence[str]) -> None:
        """A person retries them: their attempts are counted anew."""
        self.revived.update(delivery_ids)
        self.counted.update({delivery_id: -self.counted[delivery_id] for delivery_id in delivery_ids})

    # -- what runs --------------------------------------------------------------------------------------------

    def begins(self, delivery_id: str, action: str, connection: str) -> Run:
        """An action runs."""
        process = current_process()
        assert process is not None
        others = self.runs.setdefault(delivery_id, [])
        if any(not run.is_over and not run.process.is_dead for run in others) and delivery_id not in self.excused:
            self.finds(f"{delivery_id} ({action}) runs twice at once, though nobody lost its lease")
        run = Run(process)
        others.append(run)
        self.counted[delivery_id] += 1
        most = ODD_ATTEMPTS if action == "odd" else MOST_ATTEMPTS
        if self.counted[delivery_id] == most + 1:
            self.finds(f"{delivery_id} ({action}) ran {self.counted[delivery_id]} times, and {most} are allowed")
        self._check_needs(delivery_id, action)
        if delivery_id not in self.revived and delivery_id not in self.excused:
            self.later.begins(delivery_id, action, process)
        return run

    def _check_needs(self, delivery_id: str, action: str) -> None:
        needs = NEEDS.get(action, ())
        rows = self.inbox(
            "SELECT n.id, n.action, n.state, n.reason FROM deliveries n JOIN deliveries d"
            " ON n.run_id = d.run_id AND n.event_seq = d.event_seq WHERE d.id = ?",
            delivery_id,
        )
        for row in rows:
            if row["action"] in needs and row["state"] != "succeeded" and not was_dry(row["state"], row["reason"]):
                self.finds(f"{delivery_id} ({action}) runs, though {row['action']}, which it needs, is {row['state']}")
            is_other = row["action"] == NEEDS_DEATH.get(action) and row["id"] not in self.revived
            if is_other and row["state"] not in ("dead", "expired"):
                self.finds(f"{delivery_id} ({action}) runs, though {row['action']} is {row['state']}, and not dead")
        if action in APPROVED and '"by"' not in (self._word(delivery_id) or ""):
            self.finds(f"{delivery_id} ({action}) runs, and nobody approved it")

    def _word(self, delivery_id: str) -> str | None:
        return next((row["word"] for row in self.inbox("SELECT word FROM deliveries WHERE id = ?", delivery_id)), None)

    def took_effect(self, delivery_id: str) -> None:
        """A destination did what it was asked for."""
        self.effects[delivery_id] += 1

    def excuse_all(self) -> None:
        """A clock was set, or a process stood still: leases end early."""
        self.excused |= {row["id"] for row in self.inbox("SELECT id FROM deliveries WHERE state = 'running'")}

    # -- what a store does ------------------------------------------------------------------------------------

    def claimed(self) -> None:
        """After each claim: nobody else of a key runs."""
        for key in ("order_key", "once_key"):
            rows = self.inbox(
                f"SELECT {key} AS key, count(*) AS count FROM deliveries WHERE state = 'running' AND {key} IS NOT NULL"
                f" GROUP BY {key} HAVING count(*) > 1"
            )
            for row in rows:
                self.finds(f"{row['count']} deliveries of {row['key']} run at once")

    def before_purge(self) -> Callable[[int], None]:
        """What a purge is about to look at; to be called afterwards with the store's time."""
        events = {row["seq"]: row for row in self.inbox("SELECT seq, id, received_at FROM events WHERE seq > 0")}
        owed: dict[int, list[sqlite3.Row]] = {}
        for row in self.inbox("SELECT * FROM deliveries"):
            owed.setdefault(row["event_seq"], []).append(row)

        def after(now_ms: int) -> None:
            left = {row["seq"] for row in self.inbox("SELECT seq FROM events WHERE seq > 0")}
            for seq, event in events.items():
                if seq not in left:
                    self._purged(event, owed.get(seq, []), now_ms)

        return after

    def _purged(self, event: sqlite3.Row, deliveries: list[sqlite3.Row], now_ms: int) -> None:
        self.purged[event["id"]] = deliveries
        for row in deliveries:
            is_owed = row["state"] in ("pending", "running")
            if is_owed or (row["finished_at"] is not None and row["finished_at"] > now_ms - DAY_MS + 1000):
                self.finds(f"{event['id']} was purged, and its {row['action']} was {row['state']}")

    # -- the end ----------------------------------------------------------------------------------------------

    def close_books(self) -> None:
        """Everything that must hold once nothing is owed any more."""
        by_event: dict[str, list[sqlite3.Row]] = {}
        events = {row["seq"]: row["id"] for row in self.inbox("SELECT seq, id FROM events WHERE seq > 0")}
        for row in self.inbox("SELECT * FROM deliveries ORDER BY seq"):
            by_event.setdefault(events[row["event_seq"]], []).append(row)
        for lost in sorted(self.answered - set(events.values()) - set(self.purged)):
            self.finds(f"{lost} was answered 200, and is nowhere")
        for unknown in sorted(set(events.values()) - self.sent):
            if not unknown.startswith("evt_gateway_"):
                self.finds(f"{unknown} is in the inbox, and nobody sent it")
        known = {row["id"]: row for rows in (*by_event.values(), *self.purged.values()) for row in rows}
        for event_id, rows in by_event.items():
            for row in rows:
                self._check_end(row, known, rows, event_id)
        for delivery_id in self.effects:
            if delivery_id not in known:
                self.finds(f"{delivery_id} took effect, and nobody owed it")
        done = Counter(row["once_key"] for row in known.values() if row["state"] == "succeeded" and row["once_key"])
        for key, count in done.items():
            if count > 1:
                self.finds(f"{count} succeeded on {key}")
        self._check_secrets()

    def _check_end(
        self, row: sqlite3.Row, known: Mapping[str, sqlite3.Row], rows: Iterable[sqlite3.Row], event_id: str
    ) -> None:
        what = f"{row['id']} ({row['action']})"
        state, reason = row["state"], row["reason"] or ""
        if state in ("pending", "running"):
            self.finds(f"{what} is {state} for ever: {reason or row['last_error']}")
        elif state == "succeeded" and not self.effects[row["id"]]:
            self.finds(f"{what} succeeded, and nothing took effect")
        elif state == "blocked":
            needs = set(json.loads(row["needs"]))
            states = {r["state"] for r in rows if r["run_id"] == row["run_id"] and r["action"] in needs}
            if not states & {"dead", "blocked"} and row["id"] not in self.revived:
                self.finds(f"{what} is blocked for ever by what is {sorted(states)}")
        elif state == "cancelled" and reason.startswith("until: "):
            self.later.check_cancelled(what, reason, event_id)
        elif state == "expired" and row["action"] != EXPIRING:
            self.finds(f"{what} is expired, and may be of any age")
        elif state == "skipped":
            self._check_skipped(what, reason, known, event_id)
        elif state == "dead":
            fewest = ODD_ATTEMPTS if row["action"] == "odd" else FEWEST_ATTEMPTS
            is_told = row["id"] in self.rejected or "gateway.yaml" in reason or not row["judged"]
            if row["attempts"] < fewest and not is_told:
                self.finds(f"{what} is dead after {row['attempts']} attempts: {reason}")

    def _check_skipped(self, what: str, reason: str, known: Mapping[str, sqlite3.Row], event_id: str) -> None:
        if reason.startswith("once_per: "):
            if self.once.get(event_id) is None:
                self.finds(f"{what} is skipped for another, and its once_per is null: {reason}")
            holder = known.get(reason.split()[1])
            if holder is None or holder["state"] != "succeeded":
                self.finds(f"{what} is skipped for one that has not done it: {reason}")
        elif reason.startswith("digest: "):
            if reason.split()[1] not in known:
                self.finds(f"{what} is skipped for a digest that is not there: {reason}")
        elif reason.startswith("debounce: "):
            other = known.get(reason.split()[1])
            if other is None or (other["reason"] or "").startswith("debounce: "):
                self.finds(f"{what} is skipped for one that does not act: {reason}")
        elif reason.startswith("it is no longer so"):
            self.later.check_no_longer(what, event_id)
        elif not reason.startswith((NEEDED, "its `if` is false", "the route's `if` is false")):
            self.finds(f"{what} is skipped for no reason that holds: {reason}")

    def _check_secrets(self) -> None:
        assert self._inbox is not None
        kept = "\n".join(self._inbox.iterdump())
        told = "\n".join(self.log)
        for name, secret in SECRETS.items():
            for place, text in (("store", kept), ("log", told)):
                if secret in text:
                    line = next(line for line in text.splitlines() if secret in line)
                    self.finds(f"the secret {name} is in the {place}: {line[:300]}")
