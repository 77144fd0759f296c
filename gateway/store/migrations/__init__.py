"""The schema's history, by Alembic: run at start, one step a file in versions/."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

HEAD = "0002"  # the newest revision; a test compares it with versions/


def upgrade_sqlite(path: Path) -> None:
    """Brings the SQLite file to HEAD. Imports Alembic, which is slow: call it only where it is needed."""
    _let_shrink(path)
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["url"] = f"sqlite:///{path}"
    command.upgrade(config, HEAD)


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
