"""What the catchers of `gateway dev` caught: mails, forwards, Slack messages; the newest few, in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from gateway.config.runtime import masked

MOST_KEPT = 200
MOST_BYTES = 2 * 1024 * 1024  # of one


@dataclass(frozen=True, slots=True)
class Caught:
    """One thing that would have left."""

    number: int
    at: datetime
    kind: Literal["mail", "forward", "slack"]
    title: str
    heads: Sequence[tuple[str, str]]
    text: str
    html: str = ""  # of a mail
    blocks: Any = None  # of a Slack message


class Outbox:
    """The newest first."""

    def __init__(self) -> None:
        self._caught: deque[Caught] = deque(maxlen=MOST_KEPT)
        self._number = 0

    def add(
        self,
        kind: Literal["mail", "forward", "slack"],
        title: str,
        heads: Sequence[tuple[str, str]],
        text: str,
        *,
        html: str = "",
        blocks: Any = None,
    ) -> None:
        """One more, without the configuration's secrets."""
        self._number += 1
        title, heads, text, html, blocks = masked([title, heads, text[:MOST_BYTES], html[:MOST_BYTES], blocks])
        self._caught.appendleft(Caught(self._number, datetime.now(UTC), kind, title, heads, text, html, blocks))

    def all(self) -> Sequence[Caught]:
        """The newest first."""
        return tuple(self._caught)

    def get(self, number: int) -> Caught | None:
        """The one of that number, or None."""
        return next((caught for caught in self._caught if caught.number == number), None)
