"""An action's `with`, compiled at load and rendered per delivery."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from gateway.errors import TemplateError, Where
from gateway.plugin import Action, Connection, Deferred, Settings, Text, Unrendered
from gateway.settings.explain_errors import explained
from gateway.settings.problems import Problem
from gateway.settings.source import Path_, Source
from gateway.templating import Leaf, Templates


@dataclass(frozen=True, slots=True)
class Rendered:
    """What rendering brought: the typed settings for `run`, and the same as JSON values, to keep with the delivery.

    Deferred parts are missing in `kept` until the action renders them; then they appear, a list where there were many.
    """

    settings: Settings
    kept: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Field:
    """What a field of `with` asks of its templates."""

    text: Text | None
    deferred: TypeAdapter[Any] | None
    connection: type[Any] | None


class CompiledWith:
    """What `ActionUse.settings` holds."""

    def __init__(
        self,
        model: type[Settings],
        tree: dict[str, Any],
        fields: Mapping[str, _Field],
        at: Path_,
        where: Callable[[Path_], Where],
        connection: str | None,
    ) -> None:
        self.connection = connection
        self._model = model
        self._tree = tree
        self._fields = fields
        self._at = at
        self._where = where

    def known(self) -> dict[str, Any]:
        """`with` as far as it is known without an event; an Unrendered stands for each template."""
        known: dict[str, Any] = _known(self._tree)
        return known

    def render(self, scope: Mapping[str, Any]) -> Rendered:
        """Renders every leaf and validates the whole. Raises TemplateError with the place of the leaf that failed, or
        whose value the action does not take.
        """
        kept: dict[str, Any] = {}
        given: dict[str, Any] = {}
        for name, part in self._tree.items():
            field = self._fields.get(name)
            if field is not None and field.deferred is not None and part is not None:
                given[name] = Deferred(self._later(name, part, field.deferred, scope, kept))
            else:
                given[name] = _render(part, scope)
                kept[name] = _jsonable(given[name])
        try:
            return Rendered(self._model.model_validate(given), kept)
        except ValidationError as error:
            raise self._refused(error, ()) from None

    def _later(
        self, name: str, part: Any, adapter: TypeAdapter[Any], scope: Mapping[str, Any], kept: dict[str, Any]
    ) -> Callable[[Mapping[str, Any]], Any]:
        renderings: list[Any] = []

        def render(names: Mapping[str, Any]) -> Any:
            value = _render(part, {**scope, **names} if names else scope)
            if len(renderings) < 100:
                renderings.append(_jsonable(value))
                kept[name] = renderings[0] if len(renderings) == 1 else renderings
            try:
                return adapter.validate_python(value)
            except ValidationError as error:
                raise self._refused(error, (name,)) from None

        return render

    def _refused(self, error: ValidationError, below: Path_) -> TemplateError:
        path, message, _ = next(iter(explained(error)))
        return TemplateError(self._where((*self._at, *below, *path)), message)


def _known(part: Any) -> Any:
    if isinstance(part, Leaf):
        return Unrendered(part.source)
    if isinstance(part, dict):
        return {key: _known(value) for key, value in part.items()}
    return [_known(value) for value in part] if isinstance(part, list) else part


def _jsonable(value: Any) -> Any:
    return to_jsonable_python(value, fallback=str)


def _render(part: Any, scope: Mapping[str, Any]) -> Any:
    if isinstance(part, Leaf):
        return part.render(scope)
    if isinstance(part, dict):
        return {key: _render(value, scope) for key, value in part.items()}
    if isinstance(part, list):
        return [_render(value, scope) for value in part]
    return part


def fields_of(model: type[Settings]) -> dict[str, _Field]:
    """What each field of a `with` asks, by the name it has in YAML."""
    found = {}
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
        connection = next((mark.type for mark in marks if isinstance(mark, Connection)), None)
        found[info.alias or name] = _Field(
            text=next((mark for mark in marks if isinstance(mark, Text)), None),
            deferred=TypeAdapter(inner) if inner is not None else None,
            connection=connection,
        )
    return found


def compile_with(
    action: Action[Any], given: Mapping[str, Any], at: Path_, source: Source, templates: Templates
) -> tuple[CompiledWith, list[Problem]]:
    """Compiles every leaf and checks what can be known before rendering. Raises nothing."""
    model = action.Settings
    fields = fields_of(model)
    problems: list[Problem] = []

    def compiled(part: Any, path: Path_, text: Text | None, top: bool) -> Any:
        escape = text.escape if text is not None else None
        where = source.where(path)
        try:
            if isinstance(part, str):
                leaf = templates.leaf(part, where, as_text=top and text is not None, escape=escape)
                return part if leaf.is_constant else leaf
            if isinstance(part, dict):
                if top and text is not None and set(part) == {"template"} and isinstance(part["template"], str):
                    return templates.file(part["template"], where, escape=escape)
                return {key: compiled(value, (*path, key), text, False) for key, value in part.items()}
            if isinstance(part, list):
                return [compiled(value, (*path, i), text, False) for i, value in enumerate(part)]
        except TemplateError as error:
            problems.append(Problem(error.where, error.message))
        return part

    tree = {
        name: compiled(part, (*at, name), fields[name].text if name in fields else None, True)
        for name, part in given.items()
    }
    connection = None
    for name, field in fields.items():
        if field.connection is not None and isinstance(given.get(name), str):
            connection = given[name]
            if isinstance(tree[name], Leaf):
                problems.append(Problem(source.where((*at, name)), "the name of a connection cannot be a template"))
    problems += _known_beforehand(model, given, tree, at, source)
    problems += [Problem(source.where_key(at), text) for text in model.check(given)]
    return CompiledWith(model, tree, fields, at, source.where, connection), problems


def _known_beforehand(
    model: type[Settings], given: Mapping[str, Any], tree: Mapping[str, Any], at: Path_, source: Source
) -> Iterator[Problem]:
    """What the model says of `with` as written, but for what templates will bring."""
    try:
        model.model_validate(dict(given))
    except ValidationError as error:
        for path, message, hint in explained(error, model):
            if not _leads_to_template(tree, path):
                missing = message.startswith("is missing")
                unknown = message.startswith("unknown key")
                where = source.where_key((*at, *path)) if unknown or missing else source.where((*at, *path))
                yield Problem(where, message, hint)


def _leads_to_template(part: Any, path: Path_) -> bool:
    """Whether a path ends at, or passes through, a template."""
    if isinstance(part, Leaf):
        return True
    for step in path:
        try:
            part = part[step]
        except (KeyError, IndexError, TypeError):
            continue  # pydantic names the member of a union here
        if isinstance(part, Leaf):
            return True
    return False
