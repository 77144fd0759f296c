"""A gateway inside the test's own process, on a configuration that the test writes anew."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from gateway.app.gateway import Ready, running
from gateway.config.load import load
from gateway.config.runtime import RuntimeConfig
from gateway.core.model import Delivery, DeliveryFilter
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import signed_request

SECRET = "whsec_dGVzdCBzZWNyZXQgb2YgYWNtZQ=="

NOTE_PLUGIN = '''\
from typing import Annotated, Any, ClassVar
from gateway.plugin import Action, Settings, Text

class NoteSettings(Settings):
    text: Annotated[str, Text()]

class Note(Action[NoteSettings]):
    """Notes."""
    name: ClassVar[str] = "note"
    Settings: ClassVar[type[Settings]] = NoteSettings
    async def run(self, settings: NoteSettings, context: Any) -> Any:
        return OUTPUT
'''


class LiveGateway:
    """What runs, and the folder of its configuration."""

    def __init__(self, folder: Path, ready: Ready) -> None:
        self.folder = folder
        self.url = ready.public_url
        self.reloader = ready.reloader
        self._admin = ready.admin

    @property
    def live(self) -> RuntimeConfig:
        """The configuration in force."""
        return self.reloader.live

    def write(self, name: str, text: str) -> None:
        """Swaps a file by renaming."""
        fresh = self.folder / f".{Path(name).name}.new"
        fresh.write_text(text)
        fresh.replace(self.folder / name)

    async def post(self, event: dict[str, Any], secret: str = SECRET) -> int:
        """Posts as Stripe would; the status."""
        body = json.dumps(event).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/webhooks/acme", data=body, headers=signed_request(body, secret)) as response,
        ):
            return response.status

    async def page(self, path: str) -> str:
        """What the admin listener shows."""
        headers = {"Authorization": f"Bearer {self._admin.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{self._admin.url}{path}") as response,
        ):
            assert response.status == 200
            return await response.text()

    async def finished(self) -> dict[str, Delivery]:
        """All deliveries, once each has ended: by action, the newest where there are several."""
        store = SqliteStore(self.folder / "data/gateway.db")
        await store.attach()
        try:
            end = time.monotonic() + 30
            while True:
                found = await store.deliveries(DeliveryFilter(), limit=1000, newest_first=False)
                if all(one.state.is_final for one in found):
                    break
                assert time.monotonic() < end, found
                await asyncio.sleep(0.02)
            whole = [await store.delivery(one.id) for one in found]
            return {one[0].action: one[0] for one in whole if one is not None}
        finally:
            await store.close()


@contextlib.asynccontextmanager
async def live_gateway(folder: Path, config: str) -> AsyncIterator[LiveGateway]:
    """A gateway on `config`, at a free port."""
    (folder / "gateway.yaml").write_text(config)
    log = structlog.get_logger()
    async with running(load(folder / "gateway.yaml", {}), log) as ready:
        yield LiveGateway(folder, ready)


async def until(condition: Callable[[], object]) -> None:
    """Until something is so."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
