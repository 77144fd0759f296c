"""Sees every change of a delivery's state, inside the store itself."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Protocol

import asyncpg

States = tuple[str | None, str]  # from, to

_SQLITE = """
CREATE TABLE changes (source TEXT, target TEXT);
CREATE TRIGGER made AFTER INSERT ON deliveries BEGIN INSERT INTO changes VALUES (NULL, new.state); END;
CREATE TRIGGER changed AFTER UPDATE OF state ON deliveries WHEN old.state <> new.state
BEGIN INSERT INTO changes VALUES (old.state, new.state); END;
"""
# BEFORE: where a row moves to another partition, what comes after is told as a DELETE and an INSERT.
_POSTGRESQL = """
CREATE TABLE public.changes (source text, target text);
CREATE FUNCTION public.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.changes VALUES (CASE WHEN TG_OP = 'UPDATE' THEN old.state END, new.state);
  RETURN new;
END
$$;
CREATE TRIGGER changed BEFORE UPDATE ON deliveries FOR EACH ROW WHEN (old.state <> new.state)
EXECUTE FUNCTION public.note_change();
"""


class Recorder(Protocol):
    """What watches one store."""

    async def watch(self) -> None:
        """From now on; the store's schema is there."""

    async def seen(self) -> set[States]:
        """What has happened since."""


class SqliteRecorder:
    def __init__(self, path: Path) -> None:
        self.path = path

    async def watch(self) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(_SQLITE)

    async def seen(self) -> set[States]:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return set(connection.execute("SELECT source, target FROM changes"))


class PostgresRecorder:
    def __init__(self, url: str) -> None:
        self.url = url

    async def watch(self) -> None:
        connection = await asyncpg.connect(self.url, server_settings={"search_path": "gateway"})
        await connection.execute(_POSTGRESQL)
        await connection.close()

    async def seen(self) -> set[States]:
        connection = await asyncpg.connect(self.url)
        found = await connection.fetch("SELECT source, target FROM public.changes")
        await connection.close()
        return {(row["source"], row["target"]) for row in found}
