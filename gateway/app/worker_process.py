"""One worker of `gateway serve --workers N`: a whole gateway, on sockets that all of them share."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.admin.server import AdminSockets
from gateway.app.channel import Channel, Message
from gateway.app.control_socket import ASK_SECONDS, ReloaderControl, as_json
from gateway.app.gateway import Gateway, GatewayOptions, WorkerOptions, running
from gateway.app.serving import SWITCH_SECONDS, tune_garbage_collection
from gateway.app.worker_place import WorkerPlace
from gateway.config.diagnostics.problem import Problem
from gateway.config.diagnostics.render import rows
from gateway.config.load import Config
from gateway.config.watch import CHANGED_FILE
from gateway.core.errors import Where
from gateway.core.tasks import background
from gateway.telemetry.logging import Output
from gateway.telemetry.metrics import Fleet

TELL_SECONDS = 1.0  # what was counted, and with it that the event loop turns
FLEET_SECONDS = 5.0


class WorkerProcess:
    """The worker's end of the channel."""

    def __init__(self, channel: Channel, log: FilteringBoundLogger) -> None:
        self.channel = channel
        self.log = log
        self.stop = asyncio.Event()
        self.turn = asyncio.Event()  # to answer for the console
        self.gateway: Gateway | None = None  # once it is at work; nothing is asked before
        self._was = ""  # the version in force before the reload that has begun

    async def listen(self) -> None:
        """Does as it is told, and ends the worker where nobody is left to tell it anything."""
        await self.channel.run(self._answer, self._hear)
        if not self.stop.is_set():
            self.log.error("worker.alone", hint="the process that started it is gone: it drains and ends")
            self.stop.set()

    def _hear(self, message: Message) -> None:
        if message["say"] == "turn":
            self.turn.set()

    async def _answer(self, message: Message) -> Message:
        assert self.gateway is not None
        reloader = self.gateway.reloader
        match message["do"]:
            case "begin":
                self._was = reloader.live.config.version
                is_known = message["asked_by"] == CHANGED_FILE and not message["is_again"]
                if is_known and await asyncio.to_thread(reloader.inputs.stamps) == reloader.stamps:
                    return {"outcome": "known"}  # another worker has seen the same change before
                result = await reloader.begin(message["asked_by"])
                return {"outcome": result.outcome.value, "version": result.version, "problems": rows(result.problems)}
            case "end":
                result = reloader.end([_problem(row) for row in message["refused"]], is_told=message["is_told"])
                return as_json(result, reloader.live, self._was, str(reloader.live.config.path))
            case "abandon":
                reloader.abandon()
                return {}
            case _:
                return await ReloaderControl(reloader).preview(message["file"])

    async def tell_counters(self) -> None:
        """Again and again: they outlive this process."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            self.tell_last()

    def tell_last(self) -> None:
        """What was counted until now."""
        if self.gateway is not None:
            self.channel.tell(say="counters", counters=self.gateway.metrics.snapshot())

    async def reload(self, asked_by: str) -> object:
        """Has all workers reload."""
        return await self.channel.ask(ASK_SECONDS, do="reload", asked_by=asked_by)

    async def fleet(self, snapshot: Mapping[str, Any]) -> Fleet:
        """What all workers have counted, with this one's of just now."""
        fleet = await self.channel.ask(FLEET_SECONDS, do="fleet", counters=snapshot)
        return Fleet(fleet["snapshots"], fleet["pids"], fleet["restarts"])


def _problem(row: Mapping[str, Any]) -> Problem:
    where = Where(row["file"], row["line"], row["column"], row["path"])
    return Problem(where, row["message"], row["hint"], row["severity"], row["code"])


async def work(config: Config, place: WorkerPlace, log: FilteringBoundLogger) -> None:
    """Is a worker until SIGTERM, or until its supervisor is gone; then drains. Raises what `running` does."""
    Output.turns = place.log_turns
    sys.setswitchinterval(SWITCH_SECONDS)
    process = WorkerProcess(await Channel.over(socket.socket(fileno=place.channel)), log)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, process.stop.set)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all; the supervisor says what follows
        signal.signal(number, signal.SIG_IGN)
    public, admin = ([socket.socket(fileno=number) for number in numbers] for numbers in (place.public, place.admin))
    options = WorkerOptions(
        public, place.keeps_waiting, AdminSockets(admin, process.turn, place.one_time_token), process.reload
    )
    async with (
        background(process.listen, "gateway-channel"),
        background(process.tell_counters, "gateway-counters"),
    ):
        async with running(config, log, GatewayOptions(worker=options)) as ready:
            process.gateway = ready.gateway
            ready.gateway.metrics.workers = process.fleet
            tune_garbage_collection()
            sign_in = ready.admin.sign_in_url if ready.admin.token is not None else ""
            version = ready.reloader.live.config.version
            process.channel.tell(say="ready", admin=ready.admin.url, sign_in=sign_in, version=version)
            log.info("worker.ready", pid=os.getpid(), config=version, start_seconds=round(ready.seconds, 3))
            await process.stop.wait()
        process.tell_last()
    log.info("worker.stopped")
