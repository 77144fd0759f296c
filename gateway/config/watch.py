"""Reloads when a file of the configuration changes: told by the system, and looked for now and then as well, because
mounts and replaced folders do not always tell.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from gateway.config.reload import Reloader

QUIET_MILLISECONDS = 200  # a burst of changes is over when nothing happened for so long
BURST_MILLISECONDS = 2000  # or after so long in any case
LOOK_SECONDS = 5.0
CHANGED_FILE = "a changed file"


async def watch(
    reloader: Reloader, log: FilteringBoundLogger, reload: Callable[[str], Awaitable[object]] | None = None
) -> None:
    """Until it is cancelled. `reload` is asked instead of the reloader, where there is one."""
    reload = reload or reloader.reload
    is_logged = False
    while True:
        folders = reloader.inputs.folders()
        try:
            async with contextlib.aclosing(_changes(folders)) as changes:
                async for _ in changes:
                    is_logged = False
                    await _reload_if_changed(reloader, reload)
                    if reloader.inputs.folders() != folders:
                        break
        except (OSError, RuntimeError) as error:  # a folder that has just gone; no more watches to be had
            if not is_logged:
                log.warning("config.watch_failed", error=str(error), hint=f"looking every {LOOK_SECONDS:g} s instead")
            is_logged = True
            await asyncio.sleep(LOOK_SECONDS)
            await _reload_if_changed(reloader, reload)


async def _reload_if_changed(reloader: Reloader, reload: Callable[[str], Awaitable[object]]) -> None:
    if await asyncio.to_thread(reloader.inputs.stamps) != reloader.stamps:
        await reload(CHANGED_FILE)


async def _changes(folders: frozenset[Path]) -> AsyncGenerator[None, None]:
    """Yields when something happened in one of the folders, and every LOOK_SECONDS."""
    from watchfiles import awatch

    watching = awatch(
        *folders,
        watch_filter=None,
        recursive=False,
        step=QUIET_MILLISECONDS,
        debounce=BURST_MILLISECONDS,
        rust_timeout=int(LOOK_SECONDS * 1000),
        yield_on_timeout=True,
    )
    async for _ in watching:
        yield
