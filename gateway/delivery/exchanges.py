"""What is kept of what an attempt sent and got: lines, headers and first characters, for the person who looks at it.
Masked before it is cut, for half of a secret is not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from gateway.core.masking import MASK
from gateway.core.model import Finish
from gateway.plugin import Exchange
from gateway.store.keeping import kept_json

MOST_EXCHANGES = 4  # of an attempt, the last ones
LINE_CHARACTERS = 500
BODY_CHARACTERS = 2000
MOST_HEADERS = 30
HEADER_CHARACTERS = 200
_CREDENTIALS = re.compile(r"auth|cookie|token|secret|signature|password|session|(?<!idempotency-)key", re.IGNORECASE)

Mask = Callable[[Any], Any]


def are_kept(how: str, ending: Finish) -> bool:
    """Whether an attempt's exchanges are kept, by `store.exchanges`."""
    return how == "all" or (how == "failed" and ending.attempt.error is not None)


def kept_exchanges(exchanges: Sequence[Exchange], event_body: bytes, mask: Mask) -> list[dict[str, Any]] | None:
    """Plain data to be kept, what is empty left out: gateway.admin.api.exchanges reads it. None where there is none. A
    body that is the event's own is not kept a second time.
    """
    return [_told(exchange, event_body, mask) for exchange in exchanges[-MOST_EXCHANGES:]] or None


def _told(exchange: Exchange, event_body: bytes, mask: Mask) -> dict[str, Any]:
    try:
        return _kept(exchange, event_body, mask)
    except Exception as error:  # whoever wrote the action: the attempt ended as it did
        return {"sent": f"(what the action noted cannot be read: {type(error).__name__})"}


def _kept(exchange: Exchange, event_body: bytes, mask: Mask) -> dict[str, Any]:
    is_event = exchange.body is event_body
    body, answer_body = _text(exchange.body), _text(exchange.answer_body)
    row = {
        "sent": mask(exchange.sent)[:LINE_CHARACTERS],
        "headers": _headers(exchange.headers, exchange.hidden, mask),
        "body": "" if is_event else mask(body)[:BODY_CHARACTERS],
        "bytes": len(body.encode(errors="replace")),
        "is_event": is_event,
        "answer": exchange.answer and mask(exchange.answer)[:LINE_CHARACTERS],
        "answer_headers": _headers(exchange.answer_headers, (), mask),
        "answer_body": mask(answer_body)[:BODY_CHARACTERS],
        "answer_bytes": len(answer_body.encode(errors="replace")),
        "seconds": None if exchange.seconds is None else round(exchange.seconds, 3),
    }
    return {name: value for name, value in row.items() if value not in (None, "", [], 0, False)}


def _text(body: Any) -> str:
    if isinstance(body, bytes):
        return body.decode("utf-8", "replace")
    return body if isinstance(body, str) else kept_json(body) or ""


def _headers(headers: Iterable[tuple[str, str]], hidden: Collection[str], mask: Mask) -> list[list[str]]:
    names = {name.lower() for name in hidden}
    kept = []
    for name, value in list(headers)[:MOST_HEADERS]:
        is_hidden = name.lower() in names or _CREDENTIALS.search(name) is not None
        kept.append([name[:HEADER_CHARACTERS], MASK if is_hidden else mask(value)[:HEADER_CHARACTERS]])
    return kept
