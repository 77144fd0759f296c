"""A real gateway as a process of its own, and real parts around it: an HTTP sink and a mail server."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from gateway.testing import make_event, signed_request
from tests.waiting import HANG_SECONDS, until

SECRET = "whsec_dGVzdCBzZWNyZXQgb2YgYWNtZQ=="
FORWARD_SECRET = "whsec_Zm9yd2FyZCBzZWNyZXQ="
ROOT = Path(__file__).parents[2]
PROCESSES = 16  # of pytest at most, that share the ports


def _ports() -> Iterator[int]:
    """Round and round, from anywhere: ports that Linux gives nobody by itself, of which each of pytest's processes has
    its own share. One that it gives could be somebody else's before a gateway listens on it.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = range(11_000, 32_000)[worker % PROCESSES :: PROCESSES]
    start = Random().randrange(len(own))
    return itertools.cycle([*own[start:], *own[:start]])


_untried = _ports()


def free_port() -> int:
    """A port that nobody listens on just now."""
    for port in _untried:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is always another")


class Sink:
    """An HTTP service that takes forwards and checks who sent them."""

    def __init__(self) -> None:
        self.ids: Counter[str] = Counter()
        self.events: dict[str, str] = {}  # webhook-id -> event id
        self.bad = 0
        self.is_down = False  # answers 503, and counts nothing
        self.url = ""

    async def take(self, request: web.BaseRequest) -> web.Response:
        """Counts what is signed well."""
        if self.is_down:
            return web.Response(status=503)
        body = await request.read()
        try:
            event = Webhook(FORWARD_SECRET).verify(body, dict(request.headers))
        except Exception:
            self.bad += 1
            return web.Response(status=400)
        self.ids[request.headers["webhook-id"]] += 1
        self.events[request.headers["webhook-id"]] = event["id"]
        return web.json_response({"ok": True})


ACTIVATE = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, the unit's MemoryDenyWriteExecute=; where Linux knows it (6.3)
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="public")
os.execvp(sys.argv[2], sys.argv[2:])
"""  # what a service manager does between fork and exec


class GatewayProcess:
    """`python -m gateway serve` on a config in a folder; on `given`, a listening socket, where there is one."""

    given: socket.socket | None = None

    def __init__(self, folder: Path, config: str, port: int, admin_port: int = 0) -> None:
        self.folder = folder
        self.program = ["gateway"]  # a module and its first arguments
        self.environ: dict[str, str] = {}  # besides the test's own
        self.config = folder / "gateway.yaml"
        self.config.write_text(config)
        self.url = f"http://127.0.0.1:{port}"
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        self.log = folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", *self.program, "--config", str(self.config), *words]

    async def start(self) -> None:
        """Returns when it is ready."""
        self.launch()
        await self.until_ready()

    async def until_ready(self) -> None:
        """After `launch`."""
        async with aiohttp.ClientSession() as session:

            async def is_ready() -> bool:
                assert not self.has_ended, self.log.read_text()
                return await answers(session, f"{self.url}/readyz")

            await until(is_ready, every=0.05, seen=self.log.read_text)

    def launch(self) -> None:
        """Returns at once."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **self.environ}
        command = self._command("serve")
        given: tuple[int, ...] = ()
        if self.given is not None:
            given = (self.given.fileno(),)
            command = [sys.executable, "-SEc", ACTIVATE, str(given[0]), *command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdout=log, env=environ, pass_fds=given)

    @property
    def has_ended(self) -> bool:
        """By itself."""
        assert self._process is not None
        return self._process.poll() is not None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """kill -9, where it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT and the like."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(HANG_SECONDS)

    def hang_up(self) -> None:
        """SIGHUP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same config."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(self._command(*words), capture_output=True, text=True, env=environ, timeout=HANG_SECONDS)

    def json(self, *words: str) -> Any:
        """What a command prints with --json."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def rows(self, sql: str, database: str = "data/gateway.db") -> list[tuple[Any, ...]]:
        """Reads one of the gateway's SQLite files from outside."""
        connection = sqlite3.connect(self.folder / database, timeout=60)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    async def post(self, event: dict[str, Any] | bytes, secret: str = SECRET, **headers: str) -> tuple[int, Any]:
        """Posts as Stripe would, on a connection of its own; the status and the JSON answer."""
        async with aiohttp.ClientSession() as session:
            return await post(session, f"{self.url}/webhooks/acme", event, secret, **headers)

    async def until_finished(self, seconds: float = HANG_SECONDS) -> None:
        """Until every delivery is in a final state."""
        sql = "SELECT count(*) FROM deliveries WHERE state IN ('pending', 'running', 'blocked')"
        states = "SELECT action, state, last_error, count(*) FROM deliveries GROUP BY 1, 2, 3"
        await until(lambda: self.rows(sql) == [(0,)], seconds, every=0.05, seen=lambda: self.rows(states))


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether a GET is answered 200 by now."""
    with contextlib.suppress(aiohttp.ClientError):
        async with session.get(url) as response:
            return response.status == 200
    return False


async def post(
    session: aiohttp.ClientSession, url: str, event: dict[str, Any] | bytes, secret: str = SECRET, **headers: str
) -> tuple[int, Any]:
    """Posts as Stripe would; the status and the JSON answer."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    async with session.post(url, data=body, headers={**signed_request(body, secret), **headers}) as response:
        return response.status, await response.json()


def distinct_events(count: int) -> list[dict[str, Any]]:
    """So many checkout events."""
    return [make_event("checkout.session.completed") for _ in range(count)]
