"""A gateway inside the test's own process, on a free port, with its inbox and shop database in the test's folder."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from structlog.testing import CapturingLogger

from gateway.app.gateway import running
from gateway.config.load import load
from gateway.store import open_store
from gateway.store.encoding.codec import BodyCodec
from gateway.store.encoding.compression import plain_or_nothing
from gateway.store.encoding.store import with_codec
from gateway.store.encryption.keyring import Keyring
from gateway.store.protocol import Store
from gateway.testing import signed_request
from tests.configs import gateway_yaml
from tests.stripe_standin import TEST_KEY
from tests.waiting import HANG_SECONDS, nothing_owed, until

SECRET = "whsec_in_process"
SQLITE = "sqlite:///inbox.db"


def config(
    routes: str, stripe_url: str, *, key: str = TEST_KEY, account: str = "", concurrency: int = 4, inbox: str = SQLITE
) -> str:
    """A gateway.yaml with one account `acme`, one database `shop`, and the routes given (indented by two)."""
    return gateway_yaml(
        store=f'url: "{inbox}"',
        defaults="retry: {attempts: 3, first: 50ms, factor: 1}",
        stripe=f'api_base: "{stripe_url}", timeout: 5s',
        secrets=SECRET,
        accounts=f"    api_key: {key}\n    api_rate: 100000/s\n{account}",
        connections={"shop": f'type: database, url: "sqlite:///shop.db", concurrency: {concurrency}'},
        routes=routes,
    )


class InProcess:
    """A running gateway and its files."""

    def __init__(
        self, folder: Path, url: str, session: aiohttp.ClientSession, log: CapturingLogger, store: Store
    ) -> None:
        self.folder = folder
        self.store = store  # a second one on its inbox, as commands have
        self.url = url
        self.log = log
        self._session = session

    async def post(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Signs and posts an event; the gateway's answer."""
        body = json.dumps(event).encode()
        url = f"{self.url}/webhooks/acme"
        async with self._session.post(url, data=body, headers=signed_request(body, SECRET)) as response:
            assert response.status == 200, await response.text()
            answer: dict[str, Any] = await response.json()
            return answer

    def rows(self, sql: str, file: str = "inbox.db") -> list[tuple[Any, ...]]:
        """What a query finds, nothing of it compressed; `plain(body)` is so inside the query."""
        with contextlib.closing(sqlite3.connect(self.folder / file, timeout=60)) as database:
            database.create_function("plain", 1, plain_or_nothing)
            return [tuple(map(_plain, row)) for row in database.execute(sql)]

    def shop(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds in the shop's database."""
        return self.rows(sql, "shop.db")

    async def until(self, sql: str, expected: list[tuple[Any, ...]], seconds: float = HANG_SECONDS) -> None:
        """Waits until a query of the inbox brings just that."""
        await until(lambda: self.rows(sql) == expected, seconds)

    async def until_finished(self, seconds: float = 240) -> None:
        """Waits until nothing is owed."""
        await until(lambda: nothing_owed(self.store), seconds)

    def deliveries(self) -> list[tuple[str, str, str | None]]:
        """Action, state and reason or last error of every delivery, in order of arrival."""
        return self.rows("SELECT action, state, COALESCE(reason, last_error) FROM deliveries ORDER BY seq")


def _plain(cell: Any) -> Any:
    """A stored value as it was before it was compressed."""
    is_value = isinstance(cell, str) and cell.startswith('{"zstd": ')
    return json.dumps(BodyCodec(Keyring(()), compresses=False).decode_value(json.loads(cell))) if is_value else cell


@contextlib.asynccontextmanager
async def gateway(folder: Path, text: str) -> AsyncIterator[InProcess]:
    """Runs one on a configuration."""
    path = folder / "gateway.yaml"
    path.write_text(text)
    captured = CapturingLogger()
    log = structlog.wrap_logger(captured, processors=[structlog.stdlib.add_log_level, _event_first])
    loaded = load(path, {})
    async with running(loaded, log) as ready, aiohttp.ClientSession() as session:
        store = open_store(loaded.settings.store.url.get_secret_value(), folder)
        await store.attach()
        try:
            as_used = await with_codec(store, Keyring(loaded.settings.store.keys()), compresses=True, strict=True)
            yield InProcess(folder, ready.public_url, session, captured, as_used)
        finally:
            await store.close()


def _event_first(logger: Any, method: str, fields: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (fields.pop("event"),), dict(fields)
