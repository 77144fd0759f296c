"""What actions keep open between runs: one resource for each action and connection, as long as in force."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.plugin import Action, ConnectionSettings

CLOSE_SECONDS = 5.0

InForce = Callable[[Action[Any], str | None, ConnectionSettings | None], bool]
"""Whether the configuration in force has this action, and this connection with these settings."""


@dataclass(slots=True, eq=False)
class _Entry:
    action: Action[Any]
    name: str | None
    settings: ConnectionSettings | None
    base_folder: str
    users: int = 0
    is_open: bool = False
    resource: Any = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    def fits(self, action: Action[Any], settings: ConnectionSettings | None, base_folder: str) -> bool:
        """Whether it is what an attempt asks for."""
        is_same = self.settings is settings or self.settings == settings  # pydantic compares field by field
        return self.action is action and self.base_folder == base_folder and is_same

    async def open(self) -> None:
        """Opens it, or waits for whoever does. Raises what `Action.open` raises."""
        async with self.opening:
            if not self.is_open:
                self.resource = await self.action.open(self.settings, self.base_folder)
                self.is_open = True


class _Use(AbstractAsyncContextManager[Any]):
    """One attempt's use of a resource. A class, because every attempt pays for a generator."""

    def __init__(self, entry: _Entry, leave: Callable[[_Entry], None]) -> None:
        self._entry = entry
        self._leave = leave

    async def __aenter__(self) -> Any:
        self._entry.users += 1
        if not self._entry.is_open:
            try:
                await self._entry.open()
            except BaseException:
                await self.__aexit__()
                raise
        return self._entry.resource

    async def __aexit__(self, *_: object) -> None:
        self._entry.users -= 1
        self._leave(self._entry)


class Resources:
    """Opens on first use, and keeps open what is in force. What no longer is, is closed once no attempt uses it."""

    def __init__(self, in_force: InForce, log: FilteringBoundLogger) -> None:
        self._in_force = in_force
        self._log = log
        self._entries: dict[tuple[str, str | None], list[_Entry]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def use(
        self, action: Action[Any], name: str | None, settings: ConnectionSettings | None, base_folder: str
    ) -> AbstractAsyncContextManager[Any]:
        """What `action.open` returned for that connection; it stays open meanwhile. Raises what `open` raises."""
        entries = self._entries.setdefault((action.name, name), [])
        for entry in entries:
            if entry.fits(action, settings, base_folder):
                break
        else:
            entry = _Entry(action, name, settings, base_folder)
            entries.append(entry)
        entry.settings = settings  # equal; the newest are compared the fastest
        return _Use(entry, self._close_if_done)

    def retire(self) -> None:
        """Closes what is no longer in force, as soon as no attempt uses it. To be called when that has changed."""
        for entries in list(self._entries.values()):
            for entry in list(entries):
                self._close_if_done(entry)

    def _close_if_done(self, entry: _Entry) -> None:
        key = (entry.action.name, entry.name)
        entries = self._entries.get(key, [])
        if entry.users or entry not in entries:
            return
        if entry.is_open and self._in_force(entry.action, entry.name, entry.settings):
            return
        entries.remove(entry)
        if not entries:
            del self._entries[key]
        if entry.is_open:
            task = asyncio.create_task(self._close(entry), name=f"close {entry.action.name}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close(self, entry: _Entry) -> None:
        """A resource that does not close in time is left to the process's end."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await entry.action.close(entry.resource)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # also what would end the gateway: a plugin's code says it
            self._log.warning("resource.close_failed", action=entry.action.name, error=type(error).__name__)

    async def close(self) -> None:
        """Closes everything. No attempt runs any more."""
        everything = [entry for entries in self._entries.values() for entry in entries if entry.is_open]
        self._entries.clear()
        await asyncio.gather(*self._closing, *(self._close(entry) for entry in everything))


def connection_of(connections: Mapping[str, ConnectionSettings], name: str | None) -> ConnectionSettings | None:
    """The settings of a named connection."""
    return connections.get(name) if name is not None else None
