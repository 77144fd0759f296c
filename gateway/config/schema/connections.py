"""What types of connection there are, and which of their settings, or of an action's, are secrets."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from gateway.config.action_fields import fields_of
from gateway.config.yaml.nodes import Path_
from gateway.core.spelling import nearest
from gateway.plugin import (
    Action,
    ConnectionSettings,
    DatabaseConnection,
    HttpConnection,
    SlackConnection,
    SmtpConnection,
)


def connection_types(actions: Mapping[str, Action[Any]]) -> dict[str, type[ConnectionSettings]]:
    """The types of connection: those of gateway.plugin, and those that actions bring, by the word after `type:`."""
    known: list[type[ConnectionSettings]] = [DatabaseConnection, SmtpConnection, HttpConnection, SlackConnection]
    for action in actions.values():
        known += [field.connection for field in fields_of(action.Settings).values() if field.connection is not None]
    return {
        typing.get_args(model.model_fields["type"].annotation)[0]: model
        for model in known
        if typing.get_args(model.model_fields["type"].annotation)
    }


@functools.lru_cache(maxsize=64)  # bounded, as fields_of
def _nested(model: type[BaseModel]) -> Mapping[str, type[BaseModel]]:
    """The models of the keys that hold a mapping of further keys."""
    nested: dict[str, type[BaseModel]] = {}
    for name, info in model.model_fields.items():
        for option in (info.annotation, *typing.get_args(info.annotation)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                nested[info.alias or name] = option
    return nested


def paths_of_secrets(model: type[BaseModel], written: Mapping[str, Any]) -> Iterator[Path_]:
    """The way to each value that a model, or one within it, keeps as SecretStr; see `keys_of_secrets`."""
    yield from ((key,) for key in keys_of_secrets(model, frozenset(written)))
    for key, inner in _nested(model).items():
        if isinstance(part := written.get(key), dict):
            yield from ((key, *path) for path in paths_of_secrets(inner, part))


@functools.lru_cache(maxsize=64)  # bounded, as fields_of
def keys_of_secrets(model: type[BaseModel], written: frozenset[Any]) -> frozenset[str]:
    """The keys whose values a model keeps as SecretStr, whatever their names; and what is given under a key that the
    model does not know and that may be one of them, mistyped.
    """
    known = {info.alias or key: "Secret" in repr(info.annotation) for key, info in model.model_fields.items()}
    declared = frozenset(key for key, is_secret in known.items() if is_secret)
    return declared | {key for key in written if key not in known and nearest(str(key), declared) is not None}
