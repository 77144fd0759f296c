"""Whether the inbox can be opened, and whether there is room for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.errors import StoreError, UsageError
from gateway.plugin import Finding
from gateway.settings.load import Config
from gateway.store import open_store

_GIB = 1024**3
_TOO_LITTLE_BYTES = _GIB // 10
_LITTLE_BYTES = _GIB


async def inbox_findings(config: Config) -> AsyncIterator[Finding]:
    """Looks without making anything."""
    url = config.settings.store.url.get_secret_value()
    scheme, _, rest = url.partition("://")
    file = config.folder / rest.removeprefix("/") if scheme == "sqlite" else None
    if file is not None and not file.exists():
        yield _not_yet(file)
    else:
        try:
            store = open_store(url, config.folder)
            await store.attach()
        except (StoreError, UsageError) as error:
            yield Finding.bad(str(error), "look at store.url, and whether it can be reached")
            return
        try:
            counts = await store.counts()
            dead = counts.get("dead", 0)
            yield Finding.good(f"opens; its schema is current; {counts['events']} events, {dead} dead letters")
        except StoreError as error:
            yield Finding.bad(str(error), "look at the store's log")
        finally:
            await store.close()
    if file is not None:
        yield _room(_nearest_folder(file))


def _nearest_folder(file: Path) -> Path:
    return next(folder for folder in file.parents if folder.is_dir())


def _not_yet(file: Path) -> Finding:
    folder = _nearest_folder(file)
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding.bad(
            f"cannot be made: {folder} is not writable", "give the gateway's user the right to write there"
        )
    return Finding.good(f"there is no {file.name} yet; `gateway serve` makes it")


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / _GIB:.1f} GiB are free on its disk"
    if free < _TOO_LITTLE_BYTES:
        return Finding.bad(text, "make room: events that cannot be stored are answered 503")
    return Finding.note(text, "make room soon") if free < _LITTLE_BYTES else Finding.good(text)
