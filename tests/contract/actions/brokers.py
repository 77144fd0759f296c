"""Real brokers of our own: nats-server with JetStream, redis-server; each can be stopped and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import free_port
from tests.waiting import wait_until

PASSWORD = "topsecret"
_NATS_CONFIG = """
listen: "127.0.0.1:{port}"
jetstream: {{store_dir: "{folder}", max_mem: 64M, max_file: 64M}}
max_payload: 4096
accounts: {{
  SHOP: {{
    jetstream: enabled
    users: [
      {{user: me, password: {password}, permissions: {{publish: {{deny: ["orders.secret"]}}}}}}
    ]
  }}
}}
"""


class BrokerServer:
    """One server's process."""

    def __init__(self, command: list[str], port: int, url: str, log: Path) -> None:
        self.url = url
        self.port = port
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out)
        wait_until(self._answers, seen=self._log.read_text)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def stop(self) -> None:
        """Ends it."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)


def _program(name: str) -> str:
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed, and CI must test it: see .ci/run")
        pytest.skip(f"{name} is not installed: apt-get install {name} brings it")
    return found


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[BrokerServer]:
    """A server with JetStream, a user who may not publish to orders.secret, and messages of at most 4 KiB."""
    port, program = free_port(), _program("nats-server")
    config = tmp_path / "nats.conf"
    config.write_text(_NATS_CONFIG.format(port=port, folder=tmp_path / "jetstream", password=PASSWORD))
    server = BrokerServer(
        [program, "-c", str(config)], port, f"nats://me:{PASSWORD}@127.0.0.1:{port}", tmp_path / "nats.log"
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server() -> Iterator[BrokerServer]:
    """A server that keeps what it was told when it is stopped."""
    port, program = free_port(), _program("redis-server")
    folder = Path(tempfile.mkdtemp(prefix="redis"))
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--requirepass", PASSWORD]
    server = BrokerServer(
        [*command, "--appendonly", "yes"], port, f"redis://:{PASSWORD}@127.0.0.1:{port}/0", folder / "log"
    )
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)
