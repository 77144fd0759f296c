"""A real forward proxy, tinyproxy, that asks for a password and tells what went through it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.acceptance.harness import free_port
from tests.certificates import self_signed, server_context
from tests.waiting import HANG_SECONDS, wait_until

CONFIG = """\
Port {port}
Listen 127.0.0.1
Timeout 60
LogFile "{log}"
LogLevel Connect
MaxClients 20
BasicAuth gateway proxy-password
"""
_REQUEST = re.compile(r"Request \(file descriptor \d+\): (\S+ \S+) HTTP/")


class ForwardProxy:
    """What was asked of the proxy since `seen` was last cleared, as `METHOD target`."""

    def __init__(self, port: int, log: Path) -> None:
        self.url = f"http://gateway:proxy-password@127.0.0.1:{port}"
        self._log, self._forgotten = log, 0

    @property
    def seen(self) -> list[str]:
        return _REQUEST.findall(self._log.read_text())[self._forgotten :]

    def forget(self) -> None:
        self._forgotten += len(self.seen)


@pytest.fixture(scope="module")
def proxy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a proxy, and its log."""
    program = shutil.which("tinyproxy", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("tinyproxy is not installed, and CI must test it: see .ci/run")
        pytest.skip("tinyproxy is not installed: apt-get install tinyproxy-bin brings it")
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    log, config = folder / "log", folder / "tinyproxy.conf"
    log.touch()
    config.write_text(CONFIG.format(port=port, log=log))
    process = subprocess.Popen([program, "-d", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, seen=log.read_text)
        assert process.poll() is None, log.read_text()
        yield port, log
    finally:
        process.terminate()
        process.wait(HANG_SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def proxy(proxy_server: tuple[int, Path]) -> ForwardProxy:
    proxy = ForwardProxy(*proxy_server)
    proxy.forget()
    return proxy


@pytest.fixture
async def tls_proxy(proxy: ForwardProxy, tmp_path: Path) -> AsyncIterator[str]:
    """The https:// URL of the same proxy, whose certificate is `cert.pem` in the test's folder, its key `key.pem`."""
    self_signed(tmp_path)
    parts = urlsplit(proxy.url)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=server_context(tmp_path)) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"https://{parts.username}:{parts.password}@localhost:{port}"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
