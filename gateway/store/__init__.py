"""The durable inbox: one contract (base.py), and the stores that keep it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.core.errors import UsageError

if TYPE_CHECKING:  # takes long to import: `gateway check` does without
    from gateway.store.protocol import Store


def open_store(url: str, folder: Path) -> Store:
    """The store that `store.url` names, not yet started. Relative paths start at `folder`. Raises UsageError."""
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and rest != "/":
        from gateway.store.sqlite.clock import steady_ms
        from gateway.store.sqlite.store import SqliteStore

        return SqliteStore(folder / rest.removeprefix("/"), steady_clock_ms=steady_ms)
    if scheme in ("postgresql", "postgres"):
        from gateway.store.postgres.store import PostgresStore

        return PostgresStore(url)
    raise UsageError(
        "store.url: expected sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database"
    )
