"""A connection for each key that a type of connection keeps secret, found in the models: nobody need name a new one.

A key whose secret has a form, or that stands only beside others, says so below; a new type says which action uses it.
"""

from __future__ import annotations

import base64
import re
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config.plugins import find_actions
from gateway.config.schema.connections import connection_types

DEAD = "127.0.0.1:9"  # nobody answers there
FORMS: dict[str, Any] = {  # how a secret is written where it is not a text alone, of one type or of all
    "database.url": f"postgresql://me:{{}}@{DEAD}/shop",
    "http.headers": {"X-Token": "{}"},
    "http.signing_secret": "whsec_BASE64",
    "oauth2.proxy": f"http://me:{{}}@{DEAD}",
    "oauth2.parameters": {"audience": "{}"},
    "proxy": f"http://me:{{}}@{DEAD}",
    "slack.webhook_url": f"http://{DEAD}/{{}}",
    "apprise.url": f"json://me:{{}}@{DEAD}",
    "broker.url": f"nats://me:{{}}@{DEAD}",
}
PLACES: dict[str, dict[str, Any]] = {  # what else a type needs, at places where nobody answers
    "apprise": {"url": f"json://{DEAD}"},
    "database": {"url": f"postgresql://me@{DEAD}/shop"},
    "http": {"url": f"http://{DEAD}/", "allow_private": True},
    "slack": {"webhook_url": f"http://{DEAD}/", "api_url": f"http://{DEAD}", "channel": "general"},
    "smtp": {"host": "127.0.0.1", "port": 9, "username": "me"},
}
USES: dict[str, tuple[str, dict[str, Any]]] = {
    "apprise": ("notify", {"text": "hello"}),
    "broker": ("publish", {"to": "orders"}),
    "database": ("db_upsert", {"table": "t", "key": {"id": "1"}, "values": {"a": 1}}),
    "http": ("http_forward", {}),
    "slack": ("slack", {"text": "hello"}),
    "smtp": ("email", {"to": "x@y.example", "subject": "s", "text": "t"}),
}


class Planting:
    """The secrets that were planted, by the way to their key, and the connections that hold them."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.connections: dict[str, dict[str, Any]] = {}
        self.actions: dict[str, dict[str, Any]] = {}
        kinds = connection_types(find_actions([])[0])
        for kind, model in sorted(kinds.items()):
            for path in _secret_keys(model):
                self._plant(kind, model, path)

    def _plant(self, kind: str, model: type[BaseModel], path: tuple[str, ...]) -> None:
        name = ".".join((kind, *path))
        secret = f"planted-in-{name.replace('.', '-').replace('_', '-')}"
        self.secrets[name] = secret
        connection: dict[str, Any] = {"type": kind, **_required(model), **PLACES.get(kind, {}), "breaker": False}
        at: dict[str, Any] = connection
        inner = model
        for key in path[:-1]:
            inner = _models(inner.model_fields[key])[0]
            at[key] = {**_required(inner), **(certificate(kind) if key == "tls" else {})}
            at = at[key]
        at |= {"token_url": f"http://{DEAD}/token"} if "token_url" in at else {}
        at[path[-1]] = _written(FORMS.get(name, FORMS.get(".".join(path), "{}")), secret)
        connected = re.sub(r"\W", "_", name)
        model.model_validate(connection)
        self.connections[connected] = connection
        uses, given = USES[kind]
        self.actions[connected] = {"uses": uses, "with": {"connection": connected, **given}}


def certificate(kind: str) -> dict[str, str]:
    """A client certificate of a type's own, since each has a planted password."""
    return {"cert": f"{kind}.pem", "key": f"{kind}-key.pem"}


def _secret_keys(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """The way to each key that holds a SecretStr."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        if "Secret" in repr(field.annotation):
            yield (key,)
        for inner in _models(field):
            yield from ((key, *path) for path in _secret_keys(inner))


def _models(field: FieldInfo) -> list[type[BaseModel]]:
    options = (field.annotation, *typing.get_args(field.annotation))
    return [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]


def _required(model: type[BaseModel]) -> dict[str, Any]:
    """What a model must have, by its own examples."""
    fields = {field.alias or name: field for name, field in model.model_fields.items() if name != "type"}
    return {key: (field.examples or [""])[0] for key, field in fields.items() if field.is_required()}


def _written(form: Any, secret: str) -> Any:
    if isinstance(form, dict):
        return {key: _written(value, secret) for key, value in form.items()}
    return str(form).replace("BASE64", base64.b64encode(secret.encode()).decode()).replace("{}", secret)
