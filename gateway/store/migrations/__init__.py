"""The schema's history, by Alembic: run at start, one step a file in versions/."""

from __future__ import annotations

from pathlib import Path

HEAD = "0002"  # the newest revision; a test compares it with versions/


def upgrade_sqlite(path: Path) -> None:
    """Brings the SQLite file to HEAD. Imports Alembic, which is slow: call it only where it is needed."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["url"] = f"sqlite:///{path}"
    command.upgrade(config, HEAD)
