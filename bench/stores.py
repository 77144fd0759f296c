"""A gateway on SQLite or PostgreSQL, and what its store holds: for the benchmarks that compare both."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from bench.cpu import CpuUse
from bench.intake_postgres import POSTGRES_CONFIG
from bench.programs import free_port, gateway_command, program
from bench.traffic import SECRET

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"


@dataclass(frozen=True, slots=True)
class Started:
    """A gateway that runs."""

    port: int
    programs: dict[str, int]  # whose processor use tells what limits

    def cpu(self) -> CpuUse:
        """Processor use from now on."""
        return CpuUse(self.programs)


@contextlib.contextmanager
def gateway_on(url: str, folder: Path, server: Any, sink: int, concurrency: int = 1) -> Iterator[Started]:
    """A gateway on that store, ended with kill -9: what was answered must be in the store all the same. `server` is the
    PostgreSQL, None for SQLite.
    """
    port = free_port()
    config = folder / f"gateway-{port}.yaml"
    config.write_text(
        POSTGRES_CONFIG.format(
            port=port, admin=free_port(), store=url, secret=SECRET, sink=sink, concurrency=concurrency
        )
    )
    with program(gateway_command(config), folder, port, end=signal.SIGKILL) as process:
        yield Started(port, {"gateway": process.pid} | ({} if server is None else {"PostgreSQL": server.get_pid()}))


def is_postgres(url: str) -> bool:
    """Whether a store's URL leads to PostgreSQL; else to a file of SQLite."""
    return url.startswith("postgresql:")


def select(url: str, folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a statement on a store, which is committed."""
    if not is_postgres(url):
        path = folder / url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            return database.execute(sql).fetchall()

    async def fetch() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("SET search_path TO gateway")
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    return asyncio.run(fetch())
