"""Runs one action several times on one opened connection, as the gateway does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from gateway.plugin import Action
from gateway.testing import run_action

Run = Callable[[Mapping[str, Any]], Awaitable[Any]]


class _Held(Action[Any]):
    """An action whose resource stays open from run to run."""

    name = "held"

    def __init__(self, action: Action[Any], resource: Any) -> None:
        self.Settings = action.Settings  # type: ignore[misc]  # it stands in for that action
        self._action, self._resource = action, resource

    async def open(self, connection: Any, base_folder: str) -> Any:
        return self._resource

    async def run(self, settings: Any, context: Any) -> Mapping[str, Any] | None:
        return await self._action.run(settings, context)


@asynccontextmanager
async def opened(action: Action[Any], connection: Any, base_folder: str = ".") -> AsyncIterator[Run]:
    """A function that runs the action with the given `with`."""
    resource = await action.open(connection, base_folder)
    held = _Held(action, resource)

    async def run(given: Mapping[str, Any]) -> Any:
        return await run_action(held, {"connection": "it", **given}, connection=connection, base_folder=base_folder)

    try:
        yield run
    finally:
        await action.close(resource)
