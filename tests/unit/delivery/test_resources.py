"""What actions keep open between runs, and when it is closed."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest
import structlog
from structlog.testing import capture_logs

from gateway.delivery.resources import Resources
from gateway.plugin import Action, ConnectionSettings, HttpConnection, Reject, Settings


class Pooled(Action[Settings]):
    """Counts what is open."""

    name: ClassVar[str] = "pooled"
    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.fails = False

    async def open(self, connection: Any, base_folder: str) -> str:
        await asyncio.sleep(0)
        if self.fails:
            raise Reject("no")
        self.opened.append(connection.url)
        return str(connection.url)

    async def close(self, resource: str) -> None:
        self.closed.append(resource)
        if "odd" in resource:
            raise RuntimeError("odd")


def to(url: str) -> HttpConnection:
    return HttpConnection(type="http", url=url)


class InForce:
    """The configuration in force, as far as resources look at it."""

    def __init__(self, *actions: Action[Any], **connections: ConnectionSettings) -> None:
        self.actions = actions
        self.connections = connections

    def __call__(self, action: Action[Any], name: str | None, settings: ConnectionSettings | None) -> bool:
        return action in self.actions and self.connections.get(name or "") == settings


def resources(in_force: InForce) -> Resources:
    return Resources(in_force, structlog.get_logger())


async def use(some: Resources, action: Pooled, url: str) -> None:
    async with some.use(action, "warehouse", to(url), ".") as resource:
        assert resource == url


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_equal_settings_share_one_resource_even_when_read_anew() -> None:
    action = Pooled()
    some = resources(InForce(action, warehouse=to("http://a/")))
    await asyncio.gather(*(use(some, action, "http://a/") for _ in range(10)))
    await use(some, action, "http://a/")
    assert (action.opened, action.closed) == (["http://a/"], [])
    await some.close()
    assert action.closed == ["http://a/"]


async def test_what_is_no_longer_in_force_is_closed_when_its_last_attempt_ends() -> None:
    action = Pooled()
    in_force = InForce(action, warehouse=to("http://a/"))
    some = resources(in_force)
    async with some.use(action, "warehouse", to("http://a/"), "."):
        in_force.connections["warehouse"] = to("http://b/")
        some.retire()
        await settle()
        assert action.closed == []
        await use(some, action, "http://b/")
        await use(some, action, "http://a/")  # an attempt that began with the old configuration
        assert (action.opened, action.closed) == (["http://a/", "http://b/"], [])
    await settle()
    assert action.closed == ["http://a/"]
    await some.close()
    assert action.closed == ["http://a/", "http://b/"]


async def test_an_idle_resource_is_closed_as_soon_as_it_is_no_longer_in_force() -> None:
    action = Pooled()
    in_force = InForce(action, warehouse=to("http://a/"))
    some = resources(in_force)
    await use(some, action, "http://a/")
    in_force.actions = (Pooled(),)  # its plugin file has changed
    some.retire()
    await settle()
    assert action.closed == ["http://a/"]


async def test_an_attempt_with_the_old_configuration_opens_for_itself_alone() -> None:
    action = Pooled()
    some = resources(InForce(action, warehouse=to("http://b/")))
    await use(some, action, "http://a/")
    await settle()
    assert (action.opened, action.closed) == (["http://a/"], ["http://a/"])


async def test_an_opening_that_fails_is_tried_again() -> None:
    action = Pooled()
    some = resources(InForce(action, warehouse=to("http://a/")))
    action.fails = True
    with pytest.raises(Reject):
        await use(some, action, "http://a/")
    action.fails = False
    await use(some, action, "http://a/")
    assert action.opened == ["http://a/"]


async def test_a_resource_that_does_not_close_is_told_and_no_hindrance() -> None:
    action = Pooled()
    some = resources(InForce(action))
    with capture_logs() as logs:
        await use(some, action, "http://odd/")
        await settle()
    assert logs == [
        {"event": "resource.close_failed", "log_level": "warning", "action": "pooled", "error": "RuntimeError"}
    ]
