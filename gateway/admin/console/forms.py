"""What pages are asked: query and form values to the API's own types, empty fields left out."""

from __future__ import annotations

from typing import Any, TypeVar

from multidict import MultiMapping
from pydantic import ValidationError

from gateway.admin.api.schemas import Model
from gateway.admin.problems import Refused, words_of

M = TypeVar("M", bound=Model)


def fields(values: MultiMapping[Any], model: type[Model]) -> dict[str, list[str]]:
    """The filled-in fields that a model knows, as text: what a link to the same list carries on."""
    return {
        name: filled
        for name in model.model_fields
        if (filled := [value for value in values.getall(name, []) if isinstance(value, str) and value.strip()])
    }


def checked(values: MultiMapping[Any], model: type[M]) -> M:
    """The model of the filled-in fields. Raises Refused."""
    filled: dict[str, Any] = {}
    for name, texts in fields(values, model).items():
        is_list = "list" in str(model.model_fields[name].annotation)
        filled[name] = [part.strip() for value in texts for part in value.split(",")] if is_list else texts[-1].strip()
    try:
        return model.model_validate(filled)
    except ValidationError as error:
        raise Refused(422, words_of(error)) from None


def asked(values: MultiMapping[Any], model: type[M]) -> tuple[M | None, str | None]:
    """The same for a list's own form; what is wrong with it in words, to be said beside it."""
    try:
        return checked(values, model), None
    except Refused as error:
        return None, error.detail


def listing(values: MultiMapping[Any], model: type[Model]) -> dict[str, Any]:
    """What the page of a list is told of its query: all that was given, what each field of the form shows, and what
    narrows it.
    """
    filled = fields(values, model)
    return {
        "given": filled,
        "shown": {name: ", ".join(filled.get(name, [])) for name in model.model_fields},
        "filters": {name: value for name, value in filled.items() if name not in ("cursor", "limit")},
    }
