"""What --dev changes: harmless values for unset variables, and an inbox and databases of its own."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.admin.outbox import Outbox
    from gateway.config.load import Config
    from gateway.config.yaml.document import Source
    from gateway.core.model import Account, Claim, Fetch
    from gateway.plugin import StripeWriter

STORE_URL = "sqlite:///data/dev/gateway.db"
CONTROL_SOCKET = "data/dev/gateway.sock"


_PLACEHOLDERS = (  # the first whose word is in the name decides
    (("STORE_KEY", "ENCRYPT", "ADMIN_TOKEN"), "{digest}"),
    (("SECRET",), "whsec_{digest}"),
    (("API_KEY", "STRIPE_KEY"), "rk_test_{name}"),
    (("DATABASE", "POSTGRES", "MYSQL", "SQLITE", "DB_", "STORE_URL"), "sqlite:///data/dev/placeholder.db"),
    (("APPRISE_URL",), "json://127.0.0.1:9/{name}"),
    (("NATS_URL",), "nats://127.0.0.1:9"),
    (("AMQP_URL", "RABBIT_URL"), "amqp://127.0.0.1:9"),
    (("MQTT_URL",), "mqtt://127.0.0.1:9"),
    (("BROKER_URL", "REDIS_URL"), "redis://127.0.0.1:9"),
    (("PROXY",), "http://127.0.0.1:9"),
    (("LIST_UNSUBSCRIBE",), "https://localhost/{name}"),
    (("URL",), "http://127.0.0.1:9/{name}"),  # nobody answers at port 9
    (("PORT",), "9"),
    (("HOST",), "localhost"),
    (("FROM", "MAIL", "SENDER", "ROUTES_TO", "ROUTES_CC", "ROUTES_BCC", "ROUTES_REPLY_TO"), "dev@localhost"),
)
_OTHER = "dev-{name}"
_NAMES_A_BROKER = re.compile("NATS|AMQP|RABBIT|MQTT", re.I)


def placeholder(name: str, field: str = "") -> str:
    """The harmless value of a variable, by the field it fills, else by its name: the same at every start, so that two
    terminals agree.
    """
    text = next(
        (
            text
            for asked in (field, name)
            for words, text in _PLACEHOLDERS
            if any(word in asked.upper() for word in words)
        ),
        _OTHER,
    )
    digest = base64.b64encode(hashlib.sha256(f"dev {name}".encode()).digest()).decode()
    return text.format(name=name.lower(), digest=digest)


def fields_filled(path: Path) -> dict[str, str]:
    """The field that each variable fills by itself in a gateway.yaml, such as `database_url` for the `url` of a
    connection of type database, and `signing_secrets` for one of a list.
    """
    from gateway.config.yaml.document import Source

    source = Source(path, Placeholders({}))
    fields: dict[str, str] = {}
    for at, _, node, filled in source.scalars():
        variable = filled.brought[0].written if filled is not None and len(filled.brought) == 1 else None
        keys = [key for key in at if isinstance(key, str)]
        if variable is None or node.value != variable or not keys:
            continue
        connection = source.section("connections").get(keys[1]) if keys[0] == "connections" and len(keys) > 1 else None
        kind = connection.get("type") if isinstance(connection, dict) else keys[0]
        if kind == "broker" and keys[-1] == "url":
            named = _NAMES_A_BROKER.search(variable)
            kind = _broker(source, keys[1]) or (named[0].lower() if named is not None else kind)
        fields.setdefault(variable[2:-1], f"{kind}_{keys[-1]}")
    return fields


def _broker(source: Source, connection: str) -> str | None:
    """The kind of a broker, by the options that actions on it have; None where they say nothing."""
    kinds = {"stream": "nats", "exchange": "amqp", "retain": "mqtt", "max_length": "redis", "duplicate_window": "redis"}
    for at, _, node, _ in source.scalars():
        if node.value == connection and at[0] == "routes" and at[-1] == "connection":
            options: Any = source.value
            for step in at[:-1]:
                options = options[step]
            if (kind := next((kinds[option] for option in options if option in kinds), None)) is not None:
                return kind
    return None


class DevEnvironment(Mapping[str, str]):
    """The environment, with the same harmless value each time for a variable that is not set, or is empty. `path`: the
    gateway.yaml whose fields say what would fit.
    """

    def __init__(self, real: Mapping[str, str], path: Path | None = None) -> None:
        self._real = real
        self._path = path
        self.invented: set[str] = set()

    def __getitem__(self, name: str) -> str:
        value = self._real[name]
        if not value:
            raise KeyError(name)
        return value

    def get(self, name: str, default: object = None) -> str:
        """Never None: where there is no value, one is invented."""
        value = self._real.get(name)
        if value:
            return value
        self.invented.add(name)
        return placeholder(name, self._fields.get(name, ""))

    @functools.cached_property
    def _fields(self) -> Mapping[str, str]:
        return {} if self._path is None else fields_filled(self._path)

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in self._real.items() if value)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Placeholders(DevEnvironment):
    """The same, for secret files too: for what reads a configuration and reaches nobody."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name.startswith("file:") or super().__contains__(name))

    def __getitem__(self, name: str) -> str:
        return self.get(name) if name.startswith("file:") else super().__getitem__(name)


def overlay(config: Config) -> Config:
    """The same config, away from every real inbox and database. Accounts take both modes and requests come from
    anywhere, since what is sent while developing is not live and not Stripe's.
    """
    from pydantic import SecretStr

    from gateway.core.client_address import Sources
    from gateway.plugin import ConnectionSettings, DatabaseConnection

    connections: dict[str, ConnectionSettings] = {}
    for name, connection in config.connections.items():
        if isinstance(connection, DatabaseConnection):
            url = SecretStr(f"sqlite:///data/dev/{name}.db")
            connections[name] = connection.model_copy(update={"url": url})
        else:
            connections[name] = connection
    store = config.settings.store.model_copy(update={"url": SecretStr(STORE_URL)})
    reload = config.settings.reload.model_copy(update={"socket": CONTROL_SOCKET})
    settings = config.settings.model_copy(update={"store": store, "reload": reload})
    accounts = {name: replace(account, livemode=None) for name, account in config.accounts.items()}
    return replace(config, settings=settings, accounts=accounts, connections=connections, sources=Sources())


class DevFetcher:
    """Answers `fetch` in Stripe's place: with the event's own object, and samples of what it does not hold."""

    async def fetch(
        self, claim: Claim, envelope: Mapping[str, Any], account: Account, fetch: Fetch
    ) -> Mapping[str, Any]:
        from gateway.simulation.plausible_fetch import plausible_answer

        return plausible_answer(envelope, account, fetch, int(time.time()))


class DevWriters:
    """Takes what actions write to Stripe in Stripe's place: shows it, and answers with an object of that id."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def of(self, claim: Claim, envelope: Mapping[str, Any], account: Account) -> StripeWriter:
        return _DevWriter(self._outbox, claim.delivery.id, account)


@dataclass(frozen=True, slots=True)
class _DevWriter:
    outbox: Outbox
    delivery_id: str
    account: Account

    async def call(self, method: str, ids: Sequence[str], params: Mapping[str, Any]) -> Mapping[str, Any]:
        from gateway.cli.dev.catchers import show
        from gateway.delivery.stripe_writes import place_of_call

        path, verb = place_of_call(self.account, method, ids)
        title, text = f"Stripe: {method}", json.dumps(params, indent=2, ensure_ascii=False, default=str)
        heads = [(verb.upper(), path), ("Idempotency-Key", self.delivery_id)]
        self.outbox.add("forward", title, heads, text)
        show(title, "\n".join([*(f"{name}: {value}" for name, value in heads), "", text]))
        return {**params, "id": ids[-1] if ids else f"dev_{self.delivery_id}"}
