"""Tasks that have an owner, and waits that have an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from gateway.core.errors import StoreError

Answer = TypeVar("Answer")

FIRST_WAIT_SECONDS = 0.1  # for a store that is away
LONGEST_WAIT_SECONDS = 5.0
LAST_WAIT_SECONDS = 2.0  # once the gateway stops, no longer wait than this is begun


async def cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancels them and waits for their ends, whatever those are."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def background(
    work: Callable[[], Coroutine[Any, Any, None]],
    name: str,
    stop: Callable[[], Awaitable[None] | None] | None = None,
) -> AsyncIterator[None]:
    """Work beside the block: cancelled at its end, or told to stop and waited for where there is a `stop`. Then what
    the work raises is raised here.
    """
    task = asyncio.create_task(work(), name=name)
    try:
        yield
    finally:
        if stop is None:
            await cancel(task)
        else:
            stopping = stop()
            if stopping is not None:
                await stopping
            await task


async def within(seconds: float, event: asyncio.Event) -> bool:
    """Whether an event comes in that time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False


async def until_stored(
    store: Callable[[], Awaitable[Answer]], on_failure: Callable[[StoreError], None], is_stopping: Callable[[], bool]
) -> Answer:
    """Asks a store until it answers, however long it is away; `on_failure` hears of each time. Raises StoreError where
    the gateway stops meanwhile and the store has been away for a while.
    """
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            return await store()
        except StoreError as error:
            on_failure(error)
            if is_stopping() and wait > LAST_WAIT_SECONDS:
                raise
        await asyncio.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)


async def take_back_cancellation(is_cut_off: Callable[[], bool]) -> None:
    """Takes back a cancellation that the current task asked for itself; where `is_cut_off`, others did. What comes now
    is no part of it.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling() or is_cut_off():
        return
    with contextlib.suppress(asyncio.CancelledError):  # it may be still to come
        await asyncio.sleep(0)
    while task.cancelling() and not is_cut_off():
        task.uncancel()
