"""What the public listener answers: JSON, the same words whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from aiohttp import hdrs, web

Answer = Callable[[], web.Response]


def answer(status: int, body: bytes, **headers: str) -> Answer:
    """What makes an answer, always JSON: aiohttp's bear the state of their request, so each request gets its own."""
    fields = {
        hdrs.CONTENT_TYPE: "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return partial(web.Response, status=status, body=body, headers=fields)


def error(status: int, code: str, message: str, **headers: str) -> Answer:
    """What answers what is refused; it tells an attacker nothing."""
    return answer(status, f'{{"error": {{"code": "{code}", "message": "{message}"}}}}'.encode(), **headers)


UNAVAILABLE = error(503, "unavailable", "Try again later.", Retry_After="5")
"""For whatever passes by itself: the store cannot commit, too much waits, too many are connected."""
TOO_LARGE = error(413, "too_large", "The body is too large.")
RECEIVED = answer(200, b'{"received": true}')
DUPLICATE = answer(200, b'{"received": true, "duplicate": true}')
ALIVE = answer(200, b'{"status": "ok"}')
READY = answer(200, b'{"status": "ready"}')
NOT_READY = error(503, "not_ready", "The store does not answer.")
STOPPING = error(503, "stopping", "The gateway is stopping.")
MALFORMED = error(400, "malformed", "The body is not a Stripe event.")
BAD_SIGNATURE = error(401, "bad_signature", "The signature was not accepted.")
FORBIDDEN = error(403, "forbidden", "The request was not accepted.")
NOT_FOUND = error(404, "not_found", "There is nothing here.")
UNKNOWN_ACCOUNT = error(404, "unknown_account", "There is no such account.")
USE_POST = error(405, "method_not_allowed", "Use POST.", Allow="POST")
USE_GET = error(405, "method_not_allowed", "Use GET.", Allow="GET, HEAD")
REFUSALS: dict[int, tuple[str | None, Answer]] = {  # what no handler sees: the metric's reason, and the answer
    400: ("malformed", error(400, "malformed", "The request could not be read.")),
    404: (None, NOT_FOUND),
    408: ("timeout", error(408, "timeout", "The request did not arrive in time.")),
    431: ("headers_too_large", error(431, "headers_too_large", "The headers are too large.")),
    500: (None, error(500, "failed", "The request could not be handled.")),
    503: ("too_many_connections", UNAVAILABLE),
}
