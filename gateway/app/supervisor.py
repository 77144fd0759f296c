"""`gateway serve --workers N`: starts the workers on sockets that they share, and another where one ends; has all take
a new configuration or none; keeps what they have counted. It handles no event itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.app.channel import Channel, ChannelClosed, Message
from gateway.app.control_socket import ASK_SECONDS, controlled
from gateway.app.systemd import HandedOver, Manager
from gateway.app.worker_place import VARIABLE, WorkerPlace
from gateway.config.diagnostics.problem import Problem
from gateway.config.diagnostics.render import rows
from gateway.config.load import Config
from gateway.config.schema.types import split_listen
from gateway.core.errors import GatewayError, Where, cannot_listen
from gateway.core.tasks import background, cancel, within
from gateway.intake.listening import listening_sockets
from gateway.telemetry.metrics import Metrics

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0  # before a worker is started again: doubled each time
STEADY_SECONDS = 60.0  # a worker that ran for so long begins with the first wait
END_SECONDS = 30.0  # a worker that says no more gets so long to end
STOP_SECONDS = 40.0  # to drain, beside `server.shutdown_delay`; then it is killed
LISTENERS = ("server.listen", "admin.listen")
MOST_READINGS = 3  # of files that change while they are read


class WorkerFailed(GatewayError):  # noqa: N818 - reads as what it is
    """A worker ended before the gateway was ready."""


@dataclass(slots=True)
class WorkerSlot:
    """A place for one worker, whichever process fills it now."""

    number: int  # from 1
    process: asyncio.subprocess.Process | None = None
    channel: Channel | None = None
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    counters: dict[str, Any] | None = None  # as the process last told them
    heard_at: float = 0.0  # monotonic
    restarts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """The sockets of a gateway with workers."""

    public: Sequence[socket.socket]
    admin: Sequence[socket.socket]
    is_handed_over: bool  # the public ones: a service manager keeps them open

    def close(self) -> None:
        """Here; each worker has its own descriptors of them."""
        for listening in (*self.public, *self.admin):
            listening.close()


class Supervisor:
    """The workers of one gateway. Answers at the control socket for all of them."""

    def __init__(
        self,
        config: Config,
        count: int,
        command: Sequence[str],
        listening: Listening,
        log: FilteringBoundLogger,
        watchdog_seconds: float = 0.0,
    ) -> None:
        self.version = config.version  # that the workers have, as far as is known
        self.admin_url = self.sign_in_url = ""
        self._path = config.path
        self._shutdown_delay_seconds = config.settings.server.shutdown_delay
        self._command = command  # starts one
        self._listening = listening
        self._one_time_token = None if config.settings.admin.token.get_secret_value() else secrets.token_urlsafe(24)
        self._log = log
        self._watchdog_seconds = watchdog_seconds  # a worker that says nothing for so long is killed; 0: for ever
        self._slots = [WorkerSlot(number) for number in range(1, count + 1)]
        self._first: WorkerSlot | None = None  # answers for the console, logs and counts reloads
        self._ended = Metrics()  # what workers had counted that have ended
        self._reloading = asyncio.Lock()
        self._log_turns = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `_stop`
        self._has_started = False
        self._is_stopping = False
        self._try_again = asyncio.Event()  # at once, whatever the wait
        self._catching_up: set[asyncio.Task[Any]] = set()

    # -- starting and stopping --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """All are ready on entry; drained and gone on exit. Raises WorkerFailed."""
        first, *others = self._slots
        keepers: list[asyncio.Task[None]] = []
        try:
            for slots in ([first], others):  # the first brings the inbox up to date
                started = [asyncio.create_task(self._keep(slot), name="gateway-worker-keeper") for slot in slots]
                keepers += started
                await asyncio.gather(*map(self._until_ready, slots, started))
            self._has_started = True
            yield
        finally:
            await self._stop(keepers)

    async def _until_ready(self, slot: WorkerSlot, keeper: asyncio.Task[None]) -> None:
        ready = asyncio.create_task(slot.is_ready.wait())
        await asyncio.wait({ready, keeper}, return_when=asyncio.FIRST_COMPLETED)
        await cancel(ready)
        if keeper.done():
            keeper.result()

    async def _stop(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        self._is_stopping = True
        self._listening.close()
        self._try_again.set()
        self._signal(signal.SIGTERM)
        if keepers:
            _, late = await asyncio.wait(keepers, timeout=STOP_SECONDS + self._shutdown_delay_seconds)
            if late:
                self._log.error("workers.killed", hint="they did not end in time")
                self._signal(signal.SIGKILL)
                await asyncio.wait(late)
        await cancel(*self._catching_up)
        self._log_turns.close()

    def _signal(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    slot.process.send_signal(number)

    async def _keep(self, slot: WorkerSlot) -> None:
        """Has a worker there until the gateway stops. Raises WorkerFailed before all were ready."""
        wait = FIRST_WAIT_SECONDS
        while not self._is_stopping:
            started_at = time.monotonic()
            try:
                pid, code = await self._run(slot)
                how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
            except Exception as error:  # no memory, or no process to be had: the next time there may be
                pid, code, how = 0, 1, f"{type(error).__name__}: {error}"
            seconds = time.monotonic() - started_at
            if self._is_stopping:
                if code:
                    self._log.error("worker.ended", worker=slot.number, pid=pid, how=how)
                return
            if not self._has_started:
                raise WorkerFailed(f"worker {slot.number} ended before the gateway was ready ({how})")
            slot.restarts += 1
            wait = FIRST_WAIT_SECONDS if seconds >= STEADY_SECONDS else wait
            self._log.error(
                "worker.ended", worker=slot.number, pid=pid, how=how, seconds=round(seconds, 1),
                restart_in_seconds=wait, restarts=slot.restarts,
            )  # fmt: skip
            self._try_again.clear()
            await within(wait, self._try_again)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    async def _run(self, slot: WorkerSlot) -> tuple[int, int]:
        """One process, from its start to its end: its id, and how it ended."""
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as unused:
            unused.callback(ours.close)
            place = WorkerPlace(
                number=slot.number,
                channel=theirs.fileno(),
                log_turns=self._log_turns.fileno(),
                public=[listening.fileno() for listening in self._listening.public],
                admin=[listening.fileno() for listening in self._listening.admin],
                keeps_waiting=self._listening.is_handed_over,
                one_time_token=self._one_time_token,
            )
            slot.process = await asyncio.create_subprocess_exec(
                *self._command, env={**os.environ, VARIABLE: place.as_variable()}, pass_fds=place.descriptors,
                stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            unused.pop_all()
        process = slot.process
        if self._is_stopping:  # it was not there yet when all others were told
            process.terminate()
        try:
            slot.channel = await Channel.over(ours)
            async with background(partial(self._watch, slot, process), "gateway-worker-watch"):
                await slot.channel.run(partial(self._answer, slot), partial(self._hear, slot))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            code = await process.wait()
            self._has_ended(slot)
        return process.pid, code

    def _has_ended(self, slot: WorkerSlot) -> None:
        if slot.counters is not None:
            self._ended.add(slot.counters)
        slot.process = slot.channel = slot.counters = None
        slot.is_ready.clear()
        if self._first is slot:
            self._first = None
            self._choose_first()

    async def _watch(self, slot: WorkerSlot, process: asyncio.subprocess.Process) -> None:
        """Kills a worker that hangs, where the service manager would kill a gateway of one process."""
        await slot.is_ready.wait()
        while self._watchdog_seconds:
            await asyncio.sleep(self._watchdog_seconds / 2)
            silent_seconds = time.monotonic() - slot.heard_at
            if silent_seconds > self._watchdog_seconds:
                self._log.error("worker.hung", worker=slot.number, pid=process.pid, seconds=round(silent_seconds, 1))
                process.kill()
                return

    def _choose_first(self) -> None:
        """One that is ready, where there is none."""
        slot = next((slot for slot in self._slots if slot.is_ready.is_set()), None)
        if self._first is None and slot is not None and slot.channel is not None:
            self._first = slot
            slot.channel.tell(say="turn")

    # -- what workers say and ask -----------------------------------------------------------------------------

    def _hear(self, slot: WorkerSlot, message: Message) -> None:
        slot.heard_at = time.monotonic()
        if message["say"] == "counters":
            slot.counters = message["counters"]
            return
        slot.is_ready.set()
        self.admin_url, self.sign_in_url = message["admin"], message["sign_in"]
        self._choose_first()
        if message["version"] != self.version or self._reloading.locked():  # changed by now, or just now: unasked
            self._reload_apart("a worker that started")

    def _reload_apart(self, asked_by: str) -> asyncio.Task[dict[str, Any]]:
        task = asyncio.create_task(self.reload(asked_by), name="gateway-reload")
        self._catching_up.add(task)
        task.add_done_callback(self._catching_up.discard)
        return task

    async def _answer(self, slot: WorkerSlot, message: Message) -> Message:
        if message["do"] == "reload":
            return await asyncio.shield(self._reload_apart(message["asked_by"]))  # it ends though who asked has ended
        slot.counters = message["counters"]
        snapshots = [self._ended.snapshot(), *(other.counters for other in self._slots if other.counters is not None)]
        pids = {str(other.number): other.process.pid for other in self._slots if other.process is not None}
        restarts = {str(other.number): other.restarts for other in self._slots}
        return {"snapshots": snapshots, "pids": {"0": os.getpid(), **pids}, "restarts": restarts}

    # -- what is asked at the control socket ------------------------------------------------------------------

    async def reload(self, asked_by: str) -> dict[str, Any]:
        """Has all workers read their files, and then, one after another, put what all have read into force; or none."""
        async with self._reloading:
            answer: dict[str, Any] | None = None
            readings = 0
            while answer is None:
                readings += 1
                answer = await self._reload(asked_by, readings)
            self.version = answer.get("version", self.version)
            self._try_again.set()  # those that do not start: what was wrong may be mended
            return answer

    async def _reload(self, asked_by: str, reading: int) -> dict[str, Any] | None:
        """One reading. None: the files changed meanwhile."""
        begun: list[tuple[WorkerSlot, Message]] = []
        known: list[WorkerSlot] = []
        for slot in sorted(self._slots, key=lambda slot: slot is not self._first):
            message = await self._ask(slot, do="begin", asked_by=asked_by, is_again=reading > 1)
            if message is not None and message["outcome"] == "known":
                known.append(slot)
            elif message is not None:
                begun.append((slot, message))
        for slot in known if begun else ():  # it has read the same, and perhaps not taken it: another refused then
            message = await self._ask(slot, do="begin", asked_by=asked_by, is_again=True)
            begun += [(slot, message)] if message is not None else []
        refused: list[Any] = next((message["problems"] for _, message in begun if message["outcome"] == "refused"), [])
        if not refused and len({message["version"] for _, message in begun}) > 1:
            if reading < MOST_READINGS:
                for slot, _ in begun:
                    await self._ask(slot, do="abandon")
                return None
            refused = rows([Problem(Where(str(self._path), 1, 1), "it changes while it is read", code="unreadable")])
        answers: list[Message] = []
        for slot, _ in begun:
            answer = await self._ask(slot, do="end", refused=refused, is_told=not answers)
            answers += [answer] if answer is not None else []
        return dict(answers[0]) if answers else self._unanswered(is_known=bool(known))

    def _unanswered(self, *, is_known: bool) -> dict[str, Any]:
        """Of a reload that all have taken before, or that no worker is there to take."""
        problem = Problem(Where(str(self._path), 1, 1), "no worker is there to take it", code="unreadable")
        return {
            "outcome": "unchanged" if is_known else "refused", "version": self.version, "was": self.version,
            "changes": [], "orphans": [], "needs_restart": [], "problems": [] if is_known else rows([problem]),
            "report": "" if is_known else problem.message,
        }  # fmt: skip

    async def preview(self, named: str) -> dict[str, Any]:
        """What a reload would do, or, where a file is named, what it would do were that gateway.yaml."""
        if self._first is None or (answer := await self._ask(self._first, do="diff", file=named)) is None:
            raise ChannelClosed
        return dict(answer)

    async def _ask(self, slot: WorkerSlot, **message: Any) -> Message | None:
        """None where it has ended, or takes so long that it is ended: who comes next reads the files as they are."""
        if slot.channel is None or not slot.is_ready.is_set():
            return None
        try:
            return await slot.channel.ask(ASK_SECONDS, **message)
        except ChannelClosed:
            return None
        except TimeoutError:
            self._log.error("worker.hung", worker=slot.number, seconds=ASK_SECONDS)
            if slot.process is not None:
                slot.process.kill()
            return None


async def supervise(
    config: Config,
    count: int,
    command: Sequence[str],
    *,
    log: FilteringBoundLogger,
    handed_over: HandedOver,
    manager: Manager,
    on_ready: Callable[[str], None],
) -> None:
    """Runs a gateway of so many workers until SIGTERM or SIGINT. SIGHUP has them reload. `command` starts one, and
    `on_ready` is told where people sign in. Raises UsageError (an address in use), WorkerFailed.
    """
    start, loop = time.monotonic(), asyncio.get_running_loop()
    stop, hangup = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    listening = await _listening(config, handed_over)
    supervisor = Supervisor(config, count, command, listening, log, manager.watchdog_seconds)

    async def reload_at_hangup() -> None:
        while True:
            await hangup.wait()
            hangup.clear()
            manager.reloading()
            answer = await supervisor.reload("SIGHUP")
            manager.ready(
                f"{url}, {count} workers, configuration {supervisor.version}, last reload {answer['outcome']}"
            )

    async with manager.watched(), supervisor.at_work():
        socket_path = config.folder / config.settings.reload.socket
        host, port = listening.public[0].getsockname()[:2]
        url = f"{'https' if config.settings.server.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        log.info(
            "gateway.ready", url=url, admin=supervisor.admin_url, config=supervisor.version, workers=count,
            start_seconds=round(time.monotonic() - start, 3),
        )  # fmt: skip
        manager.ready(f"{url}, {count} workers, configuration {supervisor.version}")
        on_ready(supervisor.sign_in_url)
        async with controlled(socket_path, supervisor, log), background(reload_at_hangup, "gateway-hangup"):
            await stop.wait()
        manager.stopping()
        log.info("gateway.stopping")
    log.info("gateway.stopped")


async def _listening(config: Config, handed_over: HandedOver) -> Listening:
    settings = config.settings
    handed = (handed_over.public, handed_over.admin)
    sockets: list[Sequence[socket.socket]] = []
    for name, given, listen in zip(LISTENERS, handed, (settings.server.listen, settings.admin.listen), strict=True):
        try:
            sockets.append([given] if given is not None else await listening_sockets(*split_listen(listen)))
        except OSError as error:
            raise cannot_listen(name, listen, error) from None
    return Listening(public=sockets[0], admin=sockets[1], is_handed_over=handed_over.public is not None)
