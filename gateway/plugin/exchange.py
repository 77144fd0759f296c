"""What an attempt sends and what comes back, noted for the person who looks at it later."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Exchange:
    """One thing that was sent, and the answer to it, as `Context.sends` notes them. The gateway keeps those of attempts
    that fail (`store.exchanges`): cut, without the configuration's secrets and without what accounts redact. What else
    is secret, such as a token that was fetched, must not be in it.
    """

    sent: str  # in a line, such as `POST https://shop.example/orders`
    headers: Iterable[tuple[str, str]] = ()
    body: Any = field(default=b"", repr=False)  # bytes, text, or plain data, which is noted as JSON
    hidden: Collection[str] = ()  # names of headers whose values are nobody's business; those of credentials are known
    answer: str | None = None  # in a line, such as `503 Service Unavailable`; None: none came
    answer_headers: Iterable[tuple[str, str]] = ()
    answer_body: Any = field(default="", repr=False)
    seconds: float | None = None  # from sending to the answer
    begun: float = field(default_factory=time.monotonic, repr=False)

    def answered(self, answer: str, headers: Iterable[tuple[str, str]] = (), body: Any = "") -> None:
        """Notes what came back."""
        self.answer, self.answer_headers, self.answer_body = answer, headers, body
        self.seconds = time.monotonic() - self.begun
