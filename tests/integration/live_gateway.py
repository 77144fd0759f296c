"""A gateway inside the test's own process, on a configuration that the test writes anew."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from gateway.app.gateway import Ready, running
from gateway.config.load import load
from gateway.config.runtime import RuntimeConfig
from gateway.core.model import Delivery, DeliveryFilter
from gateway.store.encoding.store import with_codec
from gateway.store.encryption.keyring import Keyring
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import signed_request
from tests.waiting import until

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
        self.admin_url = ready.admin.url

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

    async def page(self, path: str, token: str | None = None) -> str:
        """What the admin listener shows; `token`: where the configuration has one."""
        headers = {"Authorization": f"Bearer {token or self._admin.token}"}
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
            deliveries: list[Delivery] = []

            async def are_final() -> bool:
                deliveries[:] = await store.deliveries(DeliveryFilter(), limit=1000, newest_first=False)
                return all(delivery.state.is_final for delivery in deliveries)

            await until(are_final, seen=lambda: deliveries)
            as_used = await with_codec(store, Keyring(()), compresses=True, strict=True)
            details = [await as_used.delivery(delivery.id) for delivery in deliveries]
            return {detail[0].action: detail[0] for detail in details if detail is not None}
        finally:
            await store.close()


@contextlib.asynccontextmanager
async def live_gateway(folder: Path, config: str) -> AsyncIterator[LiveGateway]:
    """A gateway on `config`, at a free port."""
    (folder / "gateway.yaml").write_text(config)
    log = structlog.get_logger()
    async with running(load(folder / "gateway.yaml", {}), log) as ready:
        yield LiveGateway(folder, ready)
