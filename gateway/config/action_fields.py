"""What an action's model of its `with` asks of each field, by the marks of the SDK."""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from gateway.plugin import CallsStripe, Connection, Constant, Deferred, Offers, SetsLocale, Settings, Text


@dataclass(frozen=True, slots=True)
class Field:
    """What a field of `with` asks of its templates."""

    text: Text | None
    deferred: TypeAdapter[Any] | None
    connection: type[Any] | None
    constant: Constant | None
    stripe_method: CallsStripe | None
    sets_locale: bool
    offers: Offers | None


@functools.lru_cache(maxsize=64)  # bounded: a changed plugin file brings a new class
def fields_of(model: type[Settings]) -> Mapping[str, Field]:
    """What each field of a `with` asks, by the name it has in YAML."""
    fields = {}
    for name, info in model.model_fields.items():
        marks = list(info.metadata)
        for option in (info.annotation, *typing.get_args(info.annotation)):
            if typing.get_origin(option) is typing.Annotated:
                marks += option.__metadata__
        inner = next(
            (
                typing.get_args(option)[0]
                for option in (info.annotation, *typing.get_args(info.annotation))
                if typing.get_origin(option) is Deferred
            ),
            None,
        )
        fields[info.alias or name] = Field(
            text=next((mark for mark in marks if isinstance(mark, Text)), None),
            deferred=TypeAdapter(inner) if inner is not None else None,
            connection=next((mark.type for mark in marks if isinstance(mark, Connection)), None),
            constant=next((mark for mark in marks if isinstance(mark, Constant)), None),
            sets_locale=any(isinstance(mark, SetsLocale) for mark in marks),
            stripe_method=next((mark for mark in marks if isinstance(mark, CallsStripe)), None),
            offers=next((mark for mark in marks if isinstance(mark, Offers)), None),
        )
    return fields


@functools.lru_cache(maxsize=64)
def connections_of(model: type[Settings]) -> Mapping[str, type[Any]]:
    """The fields of a `with` that name connections, and the type that each wants."""
    return {name: field.connection for name, field in fields_of(model).items() if field.connection is not None}


@functools.lru_cache(maxsize=64)
def stripe_methods_of(model: type[Settings]) -> Mapping[str, CallsStripe]:
    """The fields of a `with` that name methods of Stripe's API."""
    return {name: field.stripe_method for name, field in fields_of(model).items() if field.stripe_method is not None}


@functools.lru_cache(maxsize=64)
def listed_by(model: type[Settings]) -> frozenset[str]:
    """The fields of a `with` whose lists bring their elements to other fields, one after the other."""
    offers = (field.offers for field in fields_of(model).values())
    return frozenset(offer.where for offer in offers if offer is not None and offer.where is not None)
