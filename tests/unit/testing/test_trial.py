"""A Trial tells of an action what the gateway would make of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from gateway.plugin import UNTIL_RESUMED, Action, Context, Reject, Retry, Settings
from gateway.testing import Trial, problems


class EchoSettings(Settings):
    """`with` of echo."""

    say: Any
    then: str = "return"


class Echo(Action[EchoSettings]):
    """Gives back what it is told, or fails as told; it was opened and closed so often."""

    name: ClassVar[str] = "echo"
    Settings: ClassVar[type[Settings]] = EchoSettings

    def __init__(self) -> None:
        self.opened = self.closed = 0

    async def open(self, connection: Any, base_folder: str) -> str:
        self.opened += 1
        return "open"

    async def close(self, resource: str) -> None:
        self.closed += 1

    async def run(self, settings: EchoSettings, context: Context) -> Mapping[str, Any]:
        if settings.then == "retry":
            raise Retry("busy", after_seconds=90, of_connection=False)
        if settings.then == "reject":
            raise Reject("never", pause_seconds=UNTIL_RESUMED)
        if settings.then == "fault":
            raise KeyError("gone")
        return {"said": settings.say, "attempt": context.attempt, "delivery": context.delivery_id}


async def test_templates_see_the_event_the_constants_and_the_steps() -> None:
    given = {"say": "{{ object.currency }} {{ vars.shop }} {{ steps.save.output.rows }} ${WORD}"}
    environ = {"WORD": "x"}
    async with Trial(Echo(), given, vars={"shop": "tea"}, steps={"save": {"rows": 2}}, environ=environ) as trial:
        ended = await trial.attempt()
    assert ended.output == {"said": "eur tea 2 x", "attempt": 1, "delivery": "dlv_trial"}
    assert ended.rendered == {"say": "eur tea 2 x"}


async def test_attempts_share_the_delivery_and_what_is_open() -> None:
    echo = Echo()
    async with Trial(echo, {"say": 1}) as trial:
        assert [(await trial.attempt()).output["attempt"] for _ in range(3)] == [1, 2, 3]
        assert (echo.opened, echo.closed) == (1, 0)
    assert (echo.opened, echo.closed) == (1, 1)


async def test_a_retry_waits_as_asked_and_dies_with_the_last_attempt() -> None:
    async with Trial(Echo(), {"say": 1, "then": "retry"}, retry={"attempts": 2}) as trial:
        first, last = await trial.attempt(), await trial.attempt()
    assert (first.state, first.error, first.wait_seconds) == ("pending", "busy", 90.0)
    assert first.is_connection_failure is False
    assert (last.state, last.error, last.wait_seconds) == ("dead", "busy (attempt 2 of 2, the last)", None)


async def test_a_reject_is_dead_and_may_pause_the_connection() -> None:
    async with Trial(Echo(), {"say": 1, "then": "reject"}) as trial:
        ended = await trial.attempt()
    assert (ended.state, ended.error, ended.pause_seconds) == ("dead", "never", UNTIL_RESUMED)


async def test_a_fault_of_the_action_is_retried_and_tells_its_place() -> None:
    async with Trial(Echo(), {"say": 1, "then": "fault"}) as trial:
        ended = await trial.attempt()
    assert ended.state == "pending"
    assert ended.error is not None
    assert ended.error.startswith("the action echo failed at ")


async def test_a_template_that_fails_is_dead_before_the_action_runs() -> None:
    echo = Echo()
    async with Trial(echo, {"say": "{{ object.nosuch }}"}) as trial:
        ended = await trial.attempt()
    assert ended.state == "dead"
    assert ended.error is not None
    assert ended.error.endswith("object.nosuch: no such field")
    assert echo.opened == 0


async def test_a_dry_run_opens_nothing() -> None:
    echo = Echo()
    async with Trial(echo, {"say": "{{ object.currency }}"}) as trial:
        ended = await trial.rehearse()
    assert (ended.state, ended.rendered, echo.opened) == ("skipped", {"say": "eur"}, 0)


async def test_mistakes_are_all_told_when_it_is_entered() -> None:
    given = {"sya": "{{ objct.id }}"}
    with pytest.raises(AssertionError) as caught:
        async with Trial(Echo(), given):
            pass
    assert str(caught.value).splitlines() == problems(Echo(), given)
    assert problems(Echo(), given) == [
        "routes.trial.actions.echo.with.sya: unknown key sya (did you mean say?)",
        "routes.trial.actions.echo.with.sya: there is no name objct here (did you mean object?)",
    ]
