"""What the catchers of `gateway dev` caught: mails, forwards, Slack messages, rows; the newest few, in memory."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from gateway.config.runtime import masked

Kind = Literal["mail", "forward", "slack", "row"]
KINDS: tuple[Kind, ...] = ("mail", "forward", "slack", "row")
_DELIVERY = re.compile(r"\bdlv_[0-9a-z]+")
MOST_KEPT = 200
MOST_BYTES = 2 * 1024 * 1024  # of one


@dataclass(frozen=True, slots=True)
class Caught:
    """One thing that would have left."""

    number: int
    at: datetime
    kind: Kind
    title: str
    heads: Sequence[tuple[str, str]]
    text: str
    html: str = ""  # of a mail
    blocks: Any = None  # of a Slack message
    delivery_id: str | None = None  # whose attempt sent it, where that is known


class Outbox:
    """The newest first."""

    def __init__(self) -> None:
        self._caught: deque[Caught] = deque(maxlen=MOST_KEPT)
        self._number = 0

    def add(
        self,
        kind: Kind,
        title: str,
        heads: Sequence[tuple[str, str]],
        text: str,
        *,
        html: str = "",
        blocks: Any = None,
        delivery_id: str | None = None,
    ) -> None:
        """One more, without the configuration's secrets. Its delivery is told by its headers, where it has any."""
        delivery_id = delivery_id or next((match[0] for _, value in heads if (match := _DELIVERY.search(value))), None)
        self._number += 1
        title, heads, text, html, blocks = masked([title, heads, text, html, blocks])
        text, html = text[:MOST_BYTES], html[:MOST_BYTES]
        self._caught.appendleft(
            Caught(self._number, datetime.now(UTC), kind, title, heads, text, html, blocks, delivery_id)
        )

    def link(self, kind: Kind, text: str, delivery_id: str) -> None:
        """Says whose the newest of a kind and text is, which has no headers to tell: a Slack message."""
        for place, caught in enumerate(self._caught):
            if caught.kind == kind and caught.delivery_id is None and caught.text == masked(text):
                self._caught[place] = replace(caught, delivery_id=delivery_id)
                return

    def of(self, delivery_ids: Collection[str]) -> Sequence[Caught]:
        """What these deliveries sent, the newest first."""
        return [caught for caught in self._caught if caught.delivery_id in delivery_ids]

    def all(self) -> Sequence[Caught]:
        """The newest first."""
        return tuple(self._caught)

    def get(self, number: int) -> Caught | None:
        """The one of that number, or None."""
        return next((caught for caught in self._caught if caught.number == number), None)
