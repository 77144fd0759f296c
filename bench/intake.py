"""How many signed events a second are answered, beside peers: interleaved rounds, medians of per-round ratios.

    make bench-peers; .venv/bin/python -m bench.intake [--rounds 3] [--seconds 5] [--connections 64 16] [--only NAME]

Peers: bare Node and aiohttp handlers that keep nothing, Node + better-sqlite3 with a durable insert for each event,
and Debian's `webhook` running /bin/true. The gateway commits each event and one delivery. Its destination takes
connections and never answers, so that intake alone is measured; `gateway+deliveries` sends each to nginx meanwhile,
`gateway+encryption` has `store.encrypt`.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import shutil
import signal
import socket
import sqlite3
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from bench.figures import median_ratio, table
from bench.programs import free_port, gateway_command, program
from bench.traffic import BENCH, MOST_A_SECOND, SECRET, write_requests, wrk

CONFIG = """\
version: 1
log: {{level: error}}
server: {{listen: "127.0.0.1:{port}"}}
admin: {{listen: "127.0.0.1:{admin}"}}
store: {{url: "sqlite:///{store}"}}
accounts: {{acme: {{signing_secrets: [{secret}]}}}}
connections: {{sink: {{type: http, url: "http://127.0.0.1:{sink}/", allow_private: true, concurrency: {concurrency}}}}}
routes:
  fulfil:
    events: [checkout.session.completed]
    actions: {{forward: {{uses: http_forward, with: {{connection: sink}}}}}}
"""
STORE_KEY = base64.b64encode(bytes(32)).decode()
NAMES = ["node", "node+sqlite", "aiohttp", "webhook", "gateway", "gateway+deliveries", "gateway+encryption"]
HOOKS = '[{"id": "acme", "execute-command": "/bin/true", "response-message": "ok"}]'
NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder}; keepalive_requests 1000000;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }}
}}
"""


@contextlib.contextmanager
def silent_sink() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        for connection in kept:
            connection.close()


@contextlib.contextmanager
def nginx_sink(folder: Path) -> Iterator[int]:
    """nginx that answers 200 to everything."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port))
    with program(["nginx", "-c", str(config), "-e", str(folder / "nginx.err")], folder, port):
        yield port


@contextlib.contextmanager
def started(name: str, folder: Path) -> Iterator[int]:
    """One peer, or the gateway, fresh; the port it answers at."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        if name.startswith("gateway"):
            sends = name == "gateway+deliveries"
            sink = stack.enter_context(nginx_sink(folder) if sends else silent_sink())
            at_once = 16 if sends else 1
            config = folder / "gateway.yaml"
            text = CONFIG.format(
                port=port,
                admin=free_port(),
                store="gateway.db",
                secret=SECRET,
                sink=sink,
                concurrency=at_once,
            )
            if name == "gateway+encryption":
                text = text.replace('gateway.db"', f'gateway.db", encrypt: [{STORE_KEY}]')
            config.write_text(text)
            command = gateway_command(config)
        elif name == "webhook":
            hooks = folder / "hooks.json"
            hooks.write_text(HOOKS)
            command = [
                "webhook",
                "-hooks",
                str(hooks),
                "-ip",
                "127.0.0.1",
                "-port",
                str(port),
                "-urlprefix",
                "webhooks",
            ]
        elif name == "aiohttp":
            command = [sys.executable, str(BENCH / "peers" / "naive.py"), str(port), SECRET]
        else:
            script = BENCH / "peers" / ("bare.js" if name == "node" else "sqlite.js")
            command = ["node", str(script), str(port), SECRET, str(folder / "peer.db")]
        # kill -9: what was answered must be in the database all the same, and a drain would wait for the silent sink
        stack.enter_context(program(command, folder, port, end=signal.SIGKILL))
        yield port


def check(name: str, folder: Path, answered: float) -> None:
    """Every 200 must be in the database. Raises RuntimeError."""
    if not name.startswith("gateway"):
        return
    with contextlib.closing(sqlite3.connect(folder / "gateway.db")) as database:
        events, deliveries = database.execute(
            "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM deliveries)"
        ).fetchone()
    if events < answered or events != deliveries:
        raise RuntimeError(f"{name}: {answered} answered, {events} events and {deliveries} deliveries stored")


def options_of(description: str | None, names: Sequence[str]) -> argparse.Namespace:
    """The command line of a comparison."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 16])
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    return parser.parse_args()


def compare(
    options: argparse.Namespace,
    started: Callable[[str, Path], AbstractContextManager[int]],
    check: Callable[[str, Path, float], None],
) -> None:
    """Interleaved rounds: each starts every name anew and ends with a check of what it answered. Prints Markdown."""
    with tempfile.TemporaryDirectory(prefix="bench-") as base:
        warm, timed = Path(base, "warm"), Path(base, "timed")
        write_requests(warm, 2000)
        write_requests(timed, int(MOST_A_SECOND * options.seconds))
        for connections in options.connections:
            rounds = []
            for number in range(options.rounds):
                figures = {}
                turn = number % len(options.only)
                for name in options.only[turn:] + options.only[:turn]:
                    folder = Path(base, "run")
                    folder.mkdir()
                    with started(name, folder) as port:
                        wrk(port, warm, connections, 1)
                        figures[name] = wrk(port, timed, connections, options.seconds)
                    check(name, folder, figures[name]["requests"] - figures[name]["bad"])
                    shutil.rmtree(folder)
                    print(json.dumps({"connections": connections, "round": number, "name": name, **figures[name]}),
                          file=sys.stderr, flush=True)  # fmt: skip
                rounds.append(figures)
            report(connections, rounds, options.only)


def report(connections: int, rounds: list[dict[str, dict[str, float]]], names: list[str]) -> None:
    """A table of medians, and the gateway's ratios."""

    def median(name: str, figure: str) -> float:
        return statistics.median(figures[name][figure] for figures in rounds)

    rows = []
    for name in names:
        row = [name, f"{median(name, 'rate'):,.0f}", f"{median(name, 'p50_ms'):.1f}", f"{median(name, 'p99_ms'):.1f}"]
        row.append(f"{sum(figures[name]['bad'] for figures in rounds):.0f}")
        if "gateway" in names:
            row.append(f"{median_ratio(rounds, 'gateway', name, 'rate'):.2f}")
            row.append(f"{median_ratio(rounds, 'gateway', name, 'p99_ms'):.2f}")
        rows.append(row)
    print(f"\n{connections} connections, {len(rounds)} rounds\n")
    print(table(["", "events/s", "p50 ms", "p99 ms", "not 2xx", "gateway's rate by its", "gateway's p99 by its"], rows))


if __name__ == "__main__":
    compare(options_of(__doc__, NAMES), started, check)
