"""An action can end in any way: each is counted, has words, and ends neither the attempt's task nor the gateway."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from gateway.plugin import Action, Context, Reject, Retry, Settings
from gateway.testing import Trial, TrialResult


class Mute(Exception):  # noqa: N818
    """Its text raises."""

    def __str__(self) -> str:
        raise ValueError("no words")


class Stop(BaseException):
    """No Exception at all."""


class Ends(Action[Any]):
    """Ends as told."""

    name: ClassVar[str] = "ends"
    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, end: Callable[[], Any]) -> None:
        self.end = end

    async def run(self, settings: Any, context: Context) -> Mapping[str, Any] | None:
        end = self.end()
        if isinstance(end, BaseException):
            raise end
        if asyncio.iscoroutine(end):
            await end
        return None


async def ended(end: Callable[[], Any], **retry: Any) -> TrialResult:
    async with Trial(Ends(end), {}, retry=retry or None) as trial:
        return await trial.attempt()


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda: sys.exit("no licence"), "SystemExit: no licence"),
        (lambda: KeyboardInterrupt(), "KeyboardInterrupt: "),
        (lambda: GeneratorExit(), "GeneratorExit: "),
        (lambda: Stop("now"), "Stop: now"),
        (lambda: asyncio.CancelledError("its pool closed"), "CancelledError: its pool closed"),
        (lambda: Mute(), "Mute: (its text cannot be had: ValueError)"),
        (lambda: ExceptionGroup("tasks", [KeyError("a"), ValueError("b")]), "KeyError: 'a'"),
        (lambda: BaseExceptionGroup("tasks", [Stop("in a task")]), "Stop: in a task"),
    ],
)
async def test_whatever_an_action_raises_is_retried_with_its_wait(end: Callable[[], Any], error: str) -> None:
    result = await ended(end)
    assert (result.state, result.wait_seconds, result.is_connection_failure) == ("pending", 5.0, False)
    assert result.error is not None
    assert result.error.startswith("the action ends failed at test_attempt_errors.py:")
    assert result.error.endswith(error)


async def test_the_last_attempt_that_is_cancelled_by_its_action_is_a_dead_letter() -> None:
    result = await ended(asyncio.CancelledError, attempts=1)
    assert (result.state, result.wait_seconds) == ("dead", None)
    assert result.error is not None
    assert result.error.endswith("(attempt 1 of 1, the last)")


async def test_an_attempt_that_is_cut_off_from_outside_tells_so() -> None:
    async with Trial(Ends(lambda: asyncio.sleep(60)), {}) as trial:
        task = asyncio.create_task(trial.attempt())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("group", "state", "error"),
    [
        ([ValueError("a"), Reject("no such customer"), Retry("busy")], "dead", "no such customer"),
        ([ValueError("a"), ExceptionGroup("more", [Retry("busy", after_seconds=90)])], "pending", "busy"),
        ([ConnectionResetError("reset")], "pending", "ConnectionResetError: reset"),
    ],
)
async def test_of_a_group_the_exception_that_knows_the_most_decides(
    group: list[Exception], state: str, error: str
) -> None:
    result = await ended(lambda: ExceptionGroup("unhandled errors in a TaskGroup", group))
    assert (result.state, result.error) == (state, error)


async def test_a_message_that_is_no_text_is_made_one() -> None:
    message: Any = Mute()
    assert (await ended(lambda: Reject(message))).error == "(its text cannot be had: ValueError)"
    message = 404
    assert (await ended(lambda: Retry(message))).error == "404"
