"""Paces what is asked of Stripe's API, the library's own repeats included. Limits: https://docs.stripe.com/rate-limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
import stripe

from gateway.plugin import retry_after_seconds

PAUSE_SECONDS = 1.0  # after a 429 that does not say how long

Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]


class Pace:
    """Gives requests their turns, evenly, so many a second."""

    def __init__(self, per_second: float, clock: Clock, sleep: Sleep) -> None:
        self._interval = 1 / per_second
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0

    async def turn(self) -> None:
        """Returns when the next request may be sent."""
        now = self._clock()
        turn = max(now, self._next)
        self._next = turn + self._interval
        if turn > now:
            await self._sleep(turn - now)

    def pause(self, seconds: float) -> None:
        """No turns for so long."""
        self._next = max(self._next, self._clock() + seconds)


class PacedClient(stripe.AIOHTTPClient):
    """The library's client, where every request waits for its turn, and the library's own repeats do too."""

    def __init__(self, session: aiohttp.ClientSession, pace: Pace, sleep: Sleep) -> None:
        super().__init__(session=session, timeout=None)  # the session's holds
        self._pace = pace
        self._sleep = sleep

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        await self._pace.turn()
        try:
            body, status, answered = await super().request_async(method, url, headers, post_data)
        except (aiohttp.ClientError, OSError) as error:  # while the body was read
            self._handle_request_error(error)
        if status == 429:
            self._pace.pause(after_seconds(answered) or PAUSE_SECONDS)
        return body, status, answered

    def sleep_async(self, secs: float) -> Awaitable[None]:
        return self._sleep(secs)


def after_seconds(headers: Mapping[str, str] | None) -> float | None:
    """How long an answer asks to wait; None where it does not say."""
    return retry_after_seconds((headers or {}).get("Retry-After"), datetime.now(UTC))
