"""The schema's history, by Alembic: run at start, one step a file in versions/, for SQLite and PostgreSQL alike.

PostgreSQL is shared by gateways of several versions while a new one is rolled out, so steps expand first and contract
in a later version: a step may add tables, columns with defaults, indexes and functions under new names, or
replace a function under the same parameters so that old gateways get what they expect; what else they use is changed or
dropped only by a step that raises `OLDEST` in the same commit.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

HEAD = "0009"  # the newest revision; a test compares it with versions/
OLDEST = "0001"  # the oldest program, by its HEAD, that can work on a PostgreSQL schema brought to this HEAD

_ALEMBIC = threading.Lock()  # it keeps what it works on in module globals
_FOLDER = Path(__file__).parent


def upgrade_sqlite(path: Path) -> None:
    """Brings the SQLite file to HEAD. Imports Alembic, which is slow: call it only where it is needed."""
    _let_shrink(path)
    _upgrade(url=f"sqlite:///{path}")


def upgrade_postgresql(connect: object, schema: str) -> None:
    """Brings a PostgreSQL schema to HEAD, one gateway at a time. `connect` is a coroutine function that opens an
    asyncpg connection whose search path begins with `schema`. Call it on a thread without an event loop.
    """
    _upgrade(connect=connect, schema=schema)


def script(name: str) -> str:
    """The text of a SQL script below this folder."""
    return (_FOLDER / name).read_text()


def run_script(bind: Any, name: str) -> None:
    """Runs a SQL script below this folder on PostgreSQL, in the transaction of the steps."""
    text = script(name)
    bind.connection.dbapi_connection.run_async(lambda connection: connection.execute(text))


def _let_shrink(path: Path) -> None:
    """Makes the file one that can give space back. One that was made without that is written anew, once, if the disk
    has room for a second one; else it goes on reusing its space, and does not shrink.
    """
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
        if mode or shutil.disk_usage(path.parent).free < 2 * path.stat().st_size:
            return
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("VACUUM")


def _upgrade(**attributes: object) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes.update(attributes)
    with _ALEMBIC:
        command.upgrade(config, HEAD)
