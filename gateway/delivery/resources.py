"""What actions keep open between runs: one resource for each pair of action and connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.plugin import Action, ConnectionSettings

CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class _Opened:
    settings: ConnectionSettings | None
    action: Action[Any]
    resource: Any
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Resources:
    """Opens on first use, again after a connection's settings changed, and closes everything at the end."""

    def __init__(self, base_folder: str, log: FilteringBoundLogger) -> None:
        self._base_folder = base_folder
        self._log = log
        self._opened: dict[tuple[str, str | None], _Opened] = {}
        self._opening: dict[tuple[str, str | None], asyncio.Lock] = {}
        self._retired: list[_Opened] = []

    async def get(self, action: Action[Any], name: str | None, settings: ConnectionSettings | None) -> Any:
        """What `action.open` returned for that connection. Raises what `open` raises."""
        key = (action.name, name)
        found = self._opened.get(key)
        if found is not None and found.action is action and found.settings == settings:
            return found.resource
        async with self._opening.setdefault(key, asyncio.Lock()):
            found = self._opened.get(key)
            if found is None or found.action is not action or found.settings != settings:
                resource = await action.open(settings, self._base_folder)
                if found is not None:
                    self._retired.append(found)  # attempts may still use it: closed at the end
                found = self._opened[key] = _Opened(settings, action, resource)
        return found.resource

    async def close(self) -> None:
        """Closes everything; a resource that does not close in time is left to the process's end."""
        everything = [*self._opened.values(), *self._retired]
        self._opened.clear()
        self._retired.clear()
        for opened in everything:
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await opened.action.close(opened.resource)
            except Exception as error:
                self._log.warning("resource.close_failed", action=opened.action.name, error=type(error).__name__)


def connection_of(connections: Mapping[str, ConnectionSettings], name: str | None) -> ConnectionSettings | None:
    """The settings of a named connection."""
    return connections.get(name) if name is not None else None
