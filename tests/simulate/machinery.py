"""What of Python the simulator puts in place of the real: clocks, randomness, threads. Undone at the end."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import datetime, tzinfo
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from gateway.store.sqlite import waiting, writer
from tests.simulate.loop import SimulatedLoop, current_process

EPOCH = 1_795_400_000.0  # the wall clock at time 0 of the loop
COMMIT_SECONDS = 0.004  # at most


def wall(loop: SimulatedLoop) -> float:
    """The clock on the wall of whoever runs now."""
    process = current_process()
    return EPOCH + loop.now + (process.clock_ahead if process is not None else 0.0)


class _Kind(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


def _datetime_of(now: Callable[[], float]) -> Any:
    class Simulated(datetime, metaclass=_Kind):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(now(), tz)

    return Simulated


class InlineExecutor:
    """Does at once what a thread would do."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*args))
        return done

    def shutdown(self, wait: bool = True) -> None:
        pass


def _inline_queue(loop: SimulatedLoop, rng: Random) -> Any:
    class InlineQueue:
        """What the writer's thread waits for is done a little later, on the loop, by the process that put it here."""

        def put(self, work: Callable[[], None] | None) -> None:
            if work is not None:
                loop.call_later(rng.uniform(0.0001, COMMIT_SECONDS), work)

    return InlineQueue


@contextlib.contextmanager
def simulated(loop: SimulatedLoop, rng: Random) -> Iterator[None]:
    """Inside, there is no time but the loop's, no chance but the seed's, and no thread."""
    thread = SimpleNamespace(Thread=lambda **_: SimpleNamespace(start=lambda: None, join=lambda: None))
    simulated_datetime = _datetime_of(lambda: wall(loop))
    patches: list[Any] = [
        patch.object(time, "monotonic", lambda: loop.now),
        patch.object(time, "perf_counter", lambda: loop.now),
        patch.object(time, "monotonic_ns", lambda: int(loop.now * 1e9)),
        patch.object(time, "time", lambda: wall(loop)),
        patch.object(time, "time_ns", lambda: int(wall(loop) * 1e9)),
        patch.object(os, "urandom", rng.randbytes),
        patch.object(secrets, "token_hex", lambda size=8: rng.randbytes(size).hex()),
        patch.object(writer, "threading", thread),
        patch.object(writer, "QUICK_SECONDS", 0.0),  # a gateway may die between any statements and their commit
        patch.object(writer, "queue", SimpleNamespace(SimpleQueue=_inline_queue(loop, rng))),
        patch.object(writer, "ThreadPoolExecutor", InlineExecutor),
        patch.object(writer, "POLL_SECONDS", 5.0),
        patch.object(waiting, "MOST_ENDED", 1),  # the rest is left for later
    ]
    for name, module in list(sys.modules.items()):
        if name.startswith("gateway.") and getattr(module, "datetime", None) is datetime:
            patches.append(patch.object(module, "datetime", simulated_datetime))
    with contextlib.ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        yield
