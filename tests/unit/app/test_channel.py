"""How the processes of one gateway talk."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.app.channel import Channel, ChannelClosed


async def unasked(message: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError(message)


def unheard(message: dict[str, Any]) -> None:
    raise AssertionError(message)


Ends = tuple[Channel, Channel, list[dict[str, Any]]]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """One that only asks; one that answers what it was asked, but never where `is_away`; what that one was told."""
    ours, theirs = socket.socketpair()
    asking, answering = await Channel.over(ours), await Channel.over(theirs)
    told: list[dict[str, Any]] = []

    async def echo(message: dict[str, Any]) -> dict[str, Any]:
        if message.get("is_away"):
            await asyncio.Event().wait()
        return {"echo": message, "told": len(told)}

    tasks = [asyncio.create_task(asking.run(unasked, unheard)), asyncio.create_task(answering.run(echo, told.append))]
    yield asking, answering, told
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_each_question_gets_its_own_answer_though_an_earlier_one_waits(ends: Ends) -> None:
    asking, _, _ = ends
    waiting = asyncio.create_task(asking.ask(60, do="wait", is_away=True))
    answers = await asyncio.gather(*(asking.ask(60, do="say", number=number) for number in range(3)))
    assert [answer["echo"] for answer in answers] == [{"do": "say", "number": number} for number in range(3)]
    assert not waiting.done()
    waiting.cancel()


async def test_what_is_told_is_heard_before_what_is_asked_afterwards(ends: Ends) -> None:
    asking, _, told = ends
    long = "x" * 1_000_000
    asking.tell(say="counters", counters=long)
    assert (await asking.ask(60, do="say"))["told"] == 1
    assert told == [{"say": "counters", "counters": long}]


async def test_who_waits_for_an_answer_hears_that_the_other_has_ended(ends: Ends) -> None:
    asking, answering, _ = ends
    waiting = asyncio.create_task(asking.ask(60, do="wait", is_away=True))
    await asking.ask(60, do="say")
    answering._writer.close()
    with pytest.raises(ChannelClosed):
        await waiting
    with pytest.raises(ChannelClosed):
        await asking.ask(60, do="say")
    asking.tell(say="anything")  # is no error


async def test_who_answers_too_late_is_waited_for_no_longer(ends: Ends) -> None:
    asking, _, _ = ends
    with pytest.raises(TimeoutError):
        await asking.ask(0.01, do="wait", is_away=True)
    assert (await asking.ask(60, do="say"))["echo"] == {"do": "say"}
