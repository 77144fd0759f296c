"""Deliveries on SQLite that are held for a yes, and what people answer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from gateway.core.model import DONE, ChangeResult, HeldForYes, Refusal
from gateway.core.model.word import held_word, refuse_answer, word_of, yes_word
from gateway.store.keeping import kept_ms, kept_text
from gateway.store.records import moment
from gateway.store.sqlite.waiting import end_overtaken

Cancel = Callable[[sqlite3.Connection, str], ChangeResult]


def hold(connection: sqlite3.Connection, seq: int, held: HeldForYes, now_ms: int) -> None:
    """Gives a claim back to wait for a yes; one that came meanwhile makes it due."""
    (kept,) = connection.execute("SELECT word FROM deliveries WHERE seq = ?", (seq,)).fetchone()
    word = held_word(kept, now_ms, kept_ms(held.within_seconds))
    parts = json.loads(word)
    connection.execute(
        "UPDATE deliveries SET state = 'pending', held = 0, token = NULL, lease_until = NULL, due_at = ?, reason = ?,"
        " word = ?, attempts = attempts - 1, runs = runs - 1, once_key = NULL, order_key = NULL, judged = 0"
        " WHERE seq = ?",
        (now_ms if "by" in parts else max(parts["until"], now_ms + 250), kept_text(held.reason), word, seq),
    )


def answer(
    connection: sqlite3.Connection, delivery_id: str, who: str, *, is_yes: bool, cancel: Cancel, now_ms: int
) -> ChangeResult:
    """A yes lets it go on, a no cancels it."""
    end_overtaken(connection, now_ms, "d.id = ?", delivery_id)
    row = connection.execute("SELECT seq, state, word FROM deliveries WHERE id = ?", (delivery_id,)).fetchone()
    if row is None:
        return Refusal("there is no such delivery")
    seq, state, kept = row
    refusal = refuse_answer(state, word_of(kept), moment(now_ms))
    if refusal is not None:
        return Refusal(refusal)
    if not is_yes:
        return cancel(connection, delivery_id)
    connection.execute(
        "UPDATE deliveries SET word = ?,"
        " due_at = CASE WHEN state = 'pending' THEN max(?, coalesce(waits_until, 0)) ELSE due_at END WHERE seq = ?",
        (yes_word(kept, kept_text(who) or "", now_ms), now_ms, seq),
    )
    return DONE
