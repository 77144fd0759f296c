"""The schema's history, by Alembic: run at start, one step a file in versions/, for SQLite and PostgreSQL alike.

PostgreSQL is shared by gateways of several versions while a new one is rolled out, so steps expand first and contract
in a later version: a step may add tables, columns with defaults, indexes and functions under new names, or
replace a function under the same parameters so that old gateways get what they expect; what else they use is changed or
dropped only by a step that raises `OLDEST` in the same commit.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

HEAD = "0004"  # the newest revision; a test compares it with versions/
OLDEST = "0001"  # the oldest program, by its HEAD, that can work on a PostgreSQL schema brought to this HEAD

_ALEMBIC = threading.Lock()  # it keeps what it works on in module globals
_FOLDER = Path(__file__).parent


def upgrade_sqlite(path: Path) -> None:
    """Brings the SQLite file to HEAD. Imports Alembic, which is slow: call it only where it is needed."""
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


def _upgrade(**attributes: object) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes.update(attributes)
    with _ALEMBIC:
        command.upgrade(config, HEAD)
