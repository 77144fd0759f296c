"""An event loop whose time is simulated, whose order of ready callbacks a seed decides, and on which processes die.

A process is what was started in one context: a callback of a dead one never runs, and of a frozen one not before it
thaws. So a kill falls between any two awaits, as `kill -9` does.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from itertools import count
from random import Random
from typing import Any

THREAD_SECONDS = 0.002  # what is left to a thread takes so long at most


class Process:
    """What lives and dies together. `after` counts down the callbacks that it may still run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.is_frozen = False
        self.held: list[asyncio.Handle] = []
        self.after: int | None = None
        self.on_end: Callable[[str], None] = lambda why: None
        self.clock_ahead = 0.0  # seconds that its clock is ahead of the world's
        self.was_ahead = 0.0  # before it was set right: what runs may have begun by it
        self.versions: list[tuple[float, int]] = []  # of the configuration, each with since when it is in force
        self.context = copy_context()
        self.context.run(_process.set, self)

    def followed(self, since: float) -> set[int]:
        """The versions of the configuration that were in force from a time of the loop on."""
        before = [version for at, version in self.versions if at <= since]
        return {version for at, version in self.versions if at > since} | set(before[-1:])


_process: ContextVar[Process | None] = ContextVar("process", default=None)


def current_process() -> Process | None:
    """Who runs now."""
    return _process.get()


class _Task(asyncio.Task[Any]):
    """Sets of tasks are in the order in which they were made, and not in that of their addresses."""

    _numbers = count()

    def __init__(self, *args: Any, **options: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class NothingHappensError(AssertionError):
    """Everybody waits for somebody else, for ever."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """One thread, no sockets. Threads' work is done on it, a little later."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self.now = 1000.0
        self.callbacks = 0
        self.errors: list[str] = []
        self._rng = rng
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        self._graveyard: list[asyncio.Handle] = []  # so that nothing of a dead process runs when it is collected
        self.set_task_factory(lambda loop, coro, context=None: _Task(coro, loop=loop, context=context))
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        return self.now

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "exception" in context and "never retrieved" not in context["message"]:
            self.errors.append(f"{context['message']}: {context['exception']!r}")

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future: asyncio.Future[Any] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.call_later(self._rng.uniform(0, THREAD_SECONDS), work)
        return future

    def start(self, process: Process, work: Coroutine[Any, Any, Any], name: str = "") -> asyncio.Task[Any]:
        """Begins work of a process."""
        return self.create_task(work, name=name, context=process.context)

    def end(self, process: Process, why: str) -> None:
        """From now on nothing of it runs."""
        if not process.is_dead:
            process.is_dead = True
            self._graveyard += process.held
            process.held.clear()
            process.on_end(why)

    def thaw(self, process: Process) -> None:
        """A frozen process goes on."""
        process.is_frozen = False
        self._ready.extend(process.held)  # type: ignore[attr-defined]
        process.held.clear()

    def _run_once(self) -> None:
        timers = self._timers
        ready: Any = self._ready  # type: ignore[attr-defined]
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not timers:
                raise NothingHappensError("nothing will ever happen again, and somebody still waits")
            self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            ready.append(heapq.heappop(timers)[2])
        if ready:
            number = int(self._rng.random() * len(ready)) if len(ready) > 1 else 0
            handle = ready[number]
            del ready[number]
            if not handle.cancelled():
                process = handle._context.get(_process)
                if process is None or self._may_run(process, handle):
                    self._run(process, handle)

    def _may_run(self, process: Process, handle: asyncio.Handle) -> bool:
        if process.is_dead:
            self._graveyard.append(handle)
            return False
        if process.is_frozen:
            process.held.append(handle)
            return False
        if process.after is not None:
            process.after -= 1
            if process.after < 0:
                self._graveyard.append(handle)
                self.end(process, "killed")
                return False
        return True

    def _run(self, process: Process | None, handle: Any) -> None:
        self.callbacks += 1
        try:
            handle._context.run(handle._callback, *handle._args)
        except (SystemExit, KeyboardInterrupt) as error:
            self.errors.append(f"{process.name if process else 'the world'} was ended by {error!r}")
            if process is not None:
                self.end(process, "ended by an action")
        except BaseException as error:
            self.errors.append(f"a callback failed: {error!r}")

    def _write_to_self(self) -> None:
        pass
