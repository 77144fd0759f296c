"""What --dev changes: harmless values for unset variables, and an inbox and databases of its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.settings.load import Config

STORE_URL = "sqlite:///data/dev/gateway.db"


class DevEnvironment(Mapping[str, str]):
    """The environment, with the same harmless value each time for a variable that is not set."""

    def __init__(self, real: Mapping[str, str]) -> None:
        self._real = real
        self.invented: set[str] = set()

    def __getitem__(self, name: str) -> str:
        return self._real[name]

    def get(self, name: str, default: object = None) -> str:
        """Never None."""
        found = self._real.get(name)
        if found is not None:
            return found
        self.invented.add(name)
        if "URL" in name:
            return f"http://127.0.0.1:9/{name.lower()}"
        digest = base64.b64encode(hashlib.sha256(f"dev {name}".encode()).digest()).decode()
        return f"whsec_{digest}" if "SECRET" in name else f"dev-{name.lower()}"

    def __iter__(self) -> Iterator[str]:
        return iter(self._real)

    def __len__(self) -> int:
        return len(self._real)


def overlay(config: Config) -> Config:
    """The same config, away from every real inbox and database."""
    from pydantic import SecretStr

    from gateway.plugin import ConnectionSettings, DatabaseConnection

    connections: dict[str, ConnectionSettings] = {}
    for name, connection in config.connections.items():
        if isinstance(connection, DatabaseConnection):
            url = SecretStr(f"sqlite:///data/dev/{name}.db")
            connections[name] = connection.model_copy(update={"url": url})
        else:
            connections[name] = connection
    store = config.settings.store.model_copy(update={"url": SecretStr(STORE_URL)})
    settings = config.settings.model_copy(update={"store": store})
    return replace(config, settings=settings, connections=connections)
