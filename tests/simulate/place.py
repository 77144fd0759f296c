"""Where scenarios take place: a folder in memory, an empty inbox to copy, the configurations, loaded once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.config.load import Config
from gateway.store.sqlite.store import SqliteStore
from tests.scratch import in_memory
from tests.simulate.config import configurations

Place = tuple[Path, Path, Sequence[Config]]


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """The folder, the empty inbox, the configurations."""
    with tempfile.TemporaryDirectory(prefix="simulate", dir=in_memory()) as name:
        folder = Path(name)
        asyncio.run(_migrate(folder / "template.db"))
        configs = configurations(folder)
        gc.collect()
        gc.freeze()  # it is not looked through after every scenario
        yield folder, folder / "template.db", configs
        gc.unfreeze()


async def _migrate(file: Path) -> None:
    store = SqliteStore(file)
    await store.migrate()
    await store.close()
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fix_hashes() -> None:
    """Begins the program anew where sets of texts would be in another order each time."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"})
