"""What a supervisor does about its workers, without any; the processes are in tests/acceptance/test_workers.py."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog

from gateway.app.channel import Channel, Message
from gateway.app.supervisor import Listening, Supervisor, WorkerSlot
from gateway.config.load import load
from gateway.config.watch import CHANGED_FILE
from gateway.core.tasks import cancel
from tests.configs import gateway_yaml
from tests.waiting import until

LOADED = {"outcome": "loaded", "version": "v2", "problems": []}


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    (tmp_path / "gateway.yaml").write_text(gateway_yaml())
    nothing = Listening(public=(), admin=(), is_handed_over=False)
    made = Supervisor(load(tmp_path / "gateway.yaml", {}), 2, (), nothing, structlog.get_logger())
    yield made
    await made._stop([])


async def test_who_read_it_while_another_refused_takes_it_with_the_others(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    async def ask(slot: WorkerSlot, **message: Any) -> Message:
        if message["do"] == "end":
            ended.append(slot.number)
        elif slot.number == 2 and not message["is_again"]:
            return {"outcome": "known"}
        return LOADED

    monkeypatch.setattr(supervisor, "_ask", ask)
    await supervisor.reload(CHANGED_FILE)
    assert ended == [1, 2]


async def test_a_reload_ends_though_the_worker_that_asked_for_it_is_gone(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, asked = asyncio.Event(), []

    async def ask(slot: WorkerSlot, **message: Any) -> Message:
        asked.append(message["do"])
        await go_on.wait()
        return LOADED

    monkeypatch.setattr(supervisor, "_ask", ask)
    asking = asyncio.create_task(supervisor._answer(supervisor._slots[0], {"do": "reload", "asked_by": CHANGED_FILE}))
    await until(lambda: asked)
    await cancel(asking)
    go_on.set()
    await until(lambda: supervisor.version == "v2")


async def test_a_reload_that_nobody_is_there_to_take_is_refused(supervisor: Supervisor) -> None:
    answer = await supervisor.reload("gateway reload")
    assert (answer["outcome"], answer["report"]) == ("refused", "no worker is there to take it")


async def test_a_worker_that_cannot_be_started_is_tried_again(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    async def refused(*_: object, **__: object) -> NoReturn:
        tries.append(1)
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refused)
    monkeypatch.setattr("gateway.app.supervisor.FIRST_WAIT_SECONDS", 0.001)
    supervisor._has_started = True
    keeper = asyncio.create_task(supervisor._keep(supervisor._slots[0]))
    await until(lambda: len(tries) >= 3 or keeper.done())
    assert not keeper.done()
    await cancel(keeper)


async def test_a_line_that_is_cut_off_is_an_end() -> None:
    ours, theirs = socket.socketpair()
    channel = await Channel.over(ours)
    theirs.sendall(b'{"say": "coun')
    theirs.close()

    async def answer(_: Message) -> Message:
        return {}

    await channel.run(answer, lambda _: None)
