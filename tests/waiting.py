"""How tests wait: a condition is asked again until it holds, within a bound; never for a time alone."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

from gateway.store.protocol import Store

Condition = Callable[[], Any]

HANG_SECONDS = 120.0  # what has not come by then never comes, on a machine ten times slower than ours too


async def until(
    condition: Condition, seconds: float = HANG_SECONDS, *, every: float = 0.01, seen: Condition = str
) -> Any:
    """The first true answer of a condition, which may be a coroutine's; a failure that tells what is `seen` after that
    many seconds.
    """
    end = time.monotonic() + seconds
    while not (answer := await _answer(condition)):
        assert time.monotonic() < end, f"not so after {seconds:g} s: {seen()}"
        await asyncio.sleep(every)
    return answer


async def _answer(condition: Condition) -> Any:
    answer = condition()
    return await answer if inspect.isawaitable(answer) else answer


def wait_until(
    condition: Condition, seconds: float = HANG_SECONDS, *, every: float = 0.05, seen: Condition = str
) -> Any:
    """The same where no loop runs."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"not so after {seconds:g} s: {seen()}"
        time.sleep(every)
    return answer


async def nothing_owed(store: Store) -> bool:
    """Whether each delivery is in a state that lasts."""
    counts = await store.counts()
    return not any(counts.get(state) for state in ("pending", "running", "blocked"))
