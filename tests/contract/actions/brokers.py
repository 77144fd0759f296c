"""Real brokers of our own: nats-server with JetStream, redis-server and mosquitto, which can be stopped and started
again, and one RabbitMQ for all tests of a worker, because its start takes seconds.
"""

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
from tests.waiting import HANG_SECONDS, wait_until

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

    def __init__(
        self, command: list[str], port: int, url: str, log: Path, environ: dict[str, str] | None = None
    ) -> None:
        self.url = url
        self.port = port
        self._command = command
        self._environ = environ
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out, env=self._environ)
        wait_until(self._answers, 200, seen=self._log.read_text)  # RabbitMQ took above 60 s on a loaded machine

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
        self._process.wait(HANG_SECONDS)


def _program(name: str, folder: str = "/usr/sbin") -> str:
    found = shutil.which(name, path=f"{folder}:{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
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


_MOSQUITTO_CONFIG = """
listener {port} 127.0.0.1
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/rights
max_packet_size 4096
user root
"""


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[BrokerServer]:
    """A server that lets its user publish to orders/# alone, and takes packets of at most 4 KiB."""
    port, program = free_port(), _program("mosquitto")
    subprocess.run(
        [_program("mosquitto_passwd", "/usr/bin"), "-b", "-c", tmp_path / "passwords", "me", PASSWORD], check=True
    )
    (tmp_path / "rights").write_text("user me\ntopic readwrite orders/#\n")
    config = tmp_path / "mosquitto.conf"
    config.write_text(_MOSQUITTO_CONFIG.format(port=port, folder=tmp_path))
    server = BrokerServer(
        [program, "-c", str(config)], port, f"mqtt://me:{PASSWORD}@127.0.0.1:{port}", tmp_path / "mosquitto.log"
    )
    server.start()
    yield server
    server.stop()


_RABBITMQ_CONFIG = """
listeners.tcp.1 = 127.0.0.1:{port}
default_user = me
default_pass = {password}
default_permissions.configure = .*
default_permissions.read = ^(?!secret).*
default_permissions.write = ^(?!secret).*
loopback_users = none
max_message_size = 4096
log.console = true
log.console.level = warning
"""


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[BrokerServer]:
    """A server whose user may not publish to exchanges that begin with `secret`, with messages of at most 4 KiB.

    Erlang's port mapper gets a port of its own, and ends with it.
    """
    program = _program("rabbitmq-server", "/usr/lib/rabbitmq/bin")  # Debian's own wrapper logs to the system's folder
    folder, port, mapper = Path(tempfile.mkdtemp(prefix="rabbit")), free_port(), str(free_port())
    (folder / "rabbitmq.conf").write_text(_RABBITMQ_CONFIG.format(port=port, password=PASSWORD))
    (folder / "plugins").write_text("[].")
    environ = os.environ | {
        "HOME": str(folder),  # of Erlang's cookie
        "ERL_EPMD_PORT": mapper,
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_NODENAME": f"gateway{port}@localhost",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    url = f"amqp://me:{PASSWORD}@127.0.0.1:{port}/"
    server = BrokerServer([program], port, url, folder / "log", environ)
    server.start()
    yield server
    server.stop()
    subprocess.run([_program("epmd", "/usr/bin"), "-port", mapper, "-kill"], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)
