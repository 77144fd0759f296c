"""The schema: made whole for a new installation, and brought up to date at start for an older one.

A new installation gets `schema.sql` of its store (and PostgreSQL `functions.sql`) as they stand. Who has an older
schema goes, by Alembic, through the steps in versions/, one a file, to the same end; a test compares the two. So a
change of the schema is made in both places, and one of a function in `functions.sql` alone, which every upgrade runs.

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

from gateway.core.errors import StoreOutdated

HEAD = "0015"  # the newest revision; a test compares it with versions/
BASE = "0009"  # the oldest revision that the steps begin with: version 0.1.0
OLDEST = "0009"  # the oldest program, by its HEAD, that can work on a PostgreSQL schema brought to this HEAD
READS_COMPRESSED = "0010"  # the oldest program, by its HEAD, that reads compressed rows

_ALEMBIC = threading.Lock()  # it keeps what it works on in module globals
_FOLDER = Path(__file__).parent


def refuse_older(what: str, revision: str | None) -> None:
    """Raises StoreOutdated where no step begins with that revision."""
    if revision is not None and revision < BASE:
        raise StoreOutdated(
            f"{what} has schema {revision}, of a version before 0.1.0, which this one does not know any more: "
            f"start version 0.1.0 on it once, which brings it to {BASE}, and then this one"
        )


def upgrade_sqlite(path: Path) -> None:
    """Brings the SQLite file to HEAD; one without an inbox gets it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        _let_shrink(connection, path)
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone() is None:
            connection.executescript("BEGIN IMMEDIATE; " + schema_script("sqlite/schema.sql"))  # it does not commit
            connection.execute("INSERT INTO alembic_version VALUES (?)", (HEAD,))
            connection.execute("COMMIT")
            return
    _upgrade(url=f"sqlite:///{path}")  # it imports Alembic, which is slow


def upgrade_postgresql(connect: object, schema: str) -> None:
    """Brings a PostgreSQL schema to HEAD, one gateway at a time. `connect` is a coroutine function that opens an
    asyncpg connection whose search path begins with `schema`. Call it on a thread without an event loop.
    """
    _upgrade(connect=connect, schema=schema)


def schema_script(name: str) -> str:
    """The text of a SQL script below gateway/store."""
    return (_FOLDER.parent / name).read_text()


def _let_shrink(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the file one that can give space back. One that was made without that is written anew, once, if the disk
    has room for a second one; else it goes on reusing its space, and does not shrink.
    """
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
