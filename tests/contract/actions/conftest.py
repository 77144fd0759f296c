"""Real databases: SQLite files, a PostgreSQL server and a MariaDB server of our own, each started once."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import asyncmy
import asyncpg
import pytest

from tests.contract.actions.servers import mail, service
from tests.waiting import HANG_SECONDS, wait_until

__all__ = ["mail", "service"]  # fixtures


@pytest.fixture(scope="session")
def mariadb_socket() -> Iterator[Path]:
    """The socket of a server that lives as long as the tests; its user root needs no password."""
    paths = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"
    daemon, installer = shutil.which("mariadbd", path=paths), shutil.which("mariadb-install-db", path=paths)
    if daemon is None or installer is None:
        if os.environ.get("CI") == "true":
            pytest.fail("MariaDB is not installed, and CI must test it: see .ci/run")
        pytest.skip("MariaDB is not installed: apt-get install mariadb-server brings it")
    folder = Path(tempfile.mkdtemp(prefix="mdb"))  # short: a socket's path may have 107 bytes
    common = ["--no-defaults", f"--datadir={folder / 'data'}"]
    if os.getuid() == 0:
        common.append("--user=root")
    made = subprocess.run(
        [installer, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout
    path, log = folder / "s", folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [daemon, *common, f"--socket={path}", "--skip-networking", "--skip-log-bin"], stdout=out, stderr=out
        )
    try:
        wait_until(lambda: _greets(path) or process.poll() is not None, seen=log.read_text)
        assert process.poll() is None, log.read_text()
        yield path
    finally:
        process.terminate()
        process.wait(HANG_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _greets(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
            return bool(client.recv(1))
        except OSError:
            return False


@pytest.fixture
async def postgresql_url(postgresql_server: str) -> str:
    """The URL of an empty database."""
    name = f"t{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgresql_server)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    assert "/postgres?" in postgresql_server
    return postgresql_server.replace("/postgres?", f"/{name}?")


@pytest.fixture
async def mariadb_url(mariadb_socket: Path) -> str:
    """The URL of an empty database."""
    name = f"t{uuid.uuid4().hex}"
    connection = await asyncmy.connect(user="root", unix_socket=str(mariadb_socket))
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    finally:
        await connection.ensure_closed()
    return f"mysql://root@localhost/{name}?unix_socket={mariadb_socket}"


_SQLITE = pytest.param("sqlite")
_POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))  # one worker, so one server
_MARIADB = pytest.param("mariadb", marks=pytest.mark.xdist_group("mariadb"))


def _url(request: pytest.FixtureRequest, folder: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{folder / 'data' / 'shop.db'}"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=[_SQLITE, _POSTGRESQL, _MARIADB])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    return _url(request, tmp_path)


@pytest.fixture(params=[_SQLITE, _POSTGRESQL])
def sqlite_or_postgresql_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind that has partial and expression indexes."""
    return _url(request, tmp_path)
