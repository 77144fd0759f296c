"""An action's `with`, compiled at load and rendered per delivery."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from gateway.config.action_fields import Field, connections_of, fields_of, listed_by
from gateway.config.checks.stripe_check import StripeCheck
from gateway.config.checks.template_names import Offered, unknown_names
from gateway.config.diagnostics.problem import Problem
from gateway.config.diagnostics.pydantic_errors import explained
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_, dotted
from gateway.core.errors import TemplateError, Where
from gateway.plugin import (
    Action,
    ConnectionSettings,
    Constant,
    Deferred,
    Settings,
    Text,
    Unrendered,
)
from gateway.stripe.cut_lists import refuse_cut_list
from gateway.templating.compiler import CompiledExpression, Leaf, Templates
from gateway.templating.filters import LOCALE, language_of
from gateway.templating.references import Reference, written


@dataclass(frozen=True, slots=True)
class Rendered:
    """What rendering brought: the typed settings for `run`, and the same as JSON values, to keep with the delivery.

    Deferred parts are missing in `kept` until the action renders them; then they appear, a list where there were many.
    """

    settings: Settings
    kept: dict[str, Any]


class CompiledWith:
    """What `ActionUse.settings` holds."""

    def __init__(
        self,
        model: type[Settings],
        tree: dict[str, Any],
        fields: Mapping[str, Field],
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
        self._listed = listed_by(model)
        self._context = {"written": self.known()}  # for validators that ask what a template made
        self._locale = next((name for name, field in fields.items() if field.sets_locale and name in tree), None)

    def known(self) -> dict[str, Any]:
        """`with` as far as it is known without an event; an Unrendered stands for each template."""
        known: dict[str, Any] = _filled(self._tree, lambda leaf: Unrendered(leaf.source))
        return known

    def templates(self) -> Iterator[tuple[Path_, Leaf]]:
        """Every template in it, and its path in `with`."""
        return _leaves(self._tree, ())

    def render(self, scope: Mapping[str, Any]) -> Rendered:
        """Renders every leaf and validates the whole. Raises TemplateError with the place of the leaf that failed, or
        whose value the action does not take.
        """
        if self._locale is None:
            return self._rendered(scope)
        token = LOCALE.set(language_of(_render(self._tree[self._locale], scope)))  # what follows is for its people
        try:
            return self._rendered(scope)
        finally:
            LOCALE.reset(token)

    def _rendered(self, scope: Mapping[str, Any]) -> Rendered:
        kept: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for name, part in self._tree.items():
            field = self._fields.get(name)
            if name in self._listed and isinstance(part, Leaf):
                refuse_cut_list(name, part, scope)
            if field is not None and field.deferred is not None and part is not None:
                values[name] = Deferred(self._later(name, part, field.deferred, scope, kept))
            else:
                values[name] = _render(part, scope)
                kept[name] = _jsonable(values[name])
        try:
            return Rendered(self._model.model_validate(values, context=self._context), kept)
        except ValidationError as error:
            raise self._refused(error, values, ()) from None

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
                raise self._refused(error, value, (name,)) from None

        return render

    def _refused(self, error: ValidationError, value: Any, below: Path_) -> TemplateError:
        first = next(iter(explained(error, value)))
        path = (*below, *first.path)
        hint = _null_hint(_leaf_at(self._tree, path)) if first.message.endswith("found null") else ""
        return TemplateError(self._where((*self._at, *path)), f"{first.message}{hint}")


def _leaves(part: Any, path: Path_) -> Iterator[tuple[Path_, Leaf]]:
    if isinstance(part, Leaf):
        yield path, part
    for key, value in part.items() if isinstance(part, dict) else enumerate(part if isinstance(part, list) else ()):
        yield from _leaves(value, (*path, key))


def _leaf_at(part: Any, path: Path_) -> Leaf | None:
    """The template that a value at a path came from."""
    for step in path:
        if isinstance(part, Leaf):
            return part
        try:
            part = part[step]
        except (LookupError, TypeError):
            return None
    return part if isinstance(part, Leaf) else None


def _null_hint(leaf: Leaf | None) -> str:
    """What to write where a template brought null and the action takes none."""
    if leaf is None or not leaf.references:
        return ""
    path = written(leaf.references[0].path)
    return (
        f"; {path} is null: `if: {path}` on the action skips it, and | default('...', true) says what to take instead"
    )


def _jsonable(value: Any) -> Any:
    return value if value is None or type(value) is str else to_jsonable_python(value, fallback=str)


def _render(part: Any, scope: Mapping[str, Any]) -> Any:
    return _filled(part, lambda leaf: leaf.render(scope))


def _filled(part: Any, value_of: Callable[[Leaf], Any]) -> Any:
    """A part of `with`, with a value for each of its templates."""
    if isinstance(part, Leaf):
        return value_of(part)
    if isinstance(part, dict):
        return {key: _filled(value, value_of) for key, value in part.items()}
    return [_filled(value, value_of) for value in part] if isinstance(part, list) else part


class Compiling:
    """Compiles the `with` of actions and checks what can be known before rendering. Collects problems."""

    def __init__(self, source: Source, templates: Templates, problems: list[Problem], *, is_kept: bool) -> None:
        """`is_kept`: what is compiled is for a configuration that stays in use, and so without the source's nodes."""
        self._source = source
        self._where = source.places if is_kept else source.where
        self._templates = templates
        self._problems = problems
        self.stripe_check = StripeCheck(templates.reader.tree)

    def with_(
        self,
        action: Action[Any],
        written: Mapping[str, Any],
        at: Path_,
        offered: Offered,
        connections: Mapping[str, ConnectionSettings],
    ) -> CompiledWith:
        """One action's `with`, beside the connections that are sound. Raises nothing."""
        model = action.Settings
        fields = fields_of(model)
        tree = {}
        for name, part in written.items():
            field = fields.get(name)
            if field is not None and field.constant is not None:
                self._problems += self._templates_in(part, (*at, name), field.constant)
                tree[name] = part
                continue
            inside = _within(offered, frozenset[str]() if field is None else _items(field, written), written)
            tree[name] = self._part(part, (*at, name), field.text if field else None, True, inside)
        connection = None
        for name in connections_of(model):
            if isinstance(written.get(name), str):
                connection = written[name]
                if isinstance(tree[name], Leaf):
                    where = self._source.where((*at, name))
                    self._problems.append(Problem(where, "the name of a connection cannot be a template"))
        compiled = CompiledWith(model, tree, fields, at, self._where, connection)
        problems = list(self._known_beforehand(model, written, tree, at))
        problems = problems or list(self._own_check(action, written, at))
        self._problems += problems or self._constants(action, compiled, connections.get(connection or ""), at)
        return compiled

    def _templates_in(self, part: Any, path: Path_, constant: Constant) -> Iterator[Problem]:
        """Templates where none may stand."""
        if isinstance(part, str) and (begin := next((opening for opening in ("{{", "{%") if opening in part), None)):
            where = self._source.place(path)(part.index(begin), part.index(begin) + len(begin))
            message = f"{path[-1]} is taken as it is written: no template may stand in it"
            yield Problem(where, message, constant.hint or None)
        for key, value in part.items() if isinstance(part, dict) else enumerate(part if isinstance(part, list) else ()):
            yield from self._templates_in(value, (*path, key), constant)

    def _own_check(self, action: Action[Any], written: Mapping[str, Any], at: Path_) -> Iterator[Problem]:
        """What the action itself says of a `with` whose types are right."""
        try:
            for text in action.Settings.check(written):
                yield Problem(self._source.where_key(at), text, code="action-settings")
        except Exception as error:  # the action's own code: a fault in it is no reason to end here
            message = f"the check of action {action.name} fails: {type(error).__name__}"
            yield Problem(self._source.where_key(at), message, code="plugin")

    def _constants(
        self, action: Action[Any], compiled: CompiledWith, connection: ConnectionSettings | None, at: Path_
    ) -> Iterator[Problem]:
        """What the action says of the values that no template brings."""
        wanted = next(iter(connections_of(action.Settings).values()), None)
        sound = connection if wanted is None or isinstance(connection, wanted) else None
        try:
            for fault in action.faults(compiled.known(), sound):
                path = (*at, *fault.at)
                where = self._source.where_key(path) if fault.is_of_key else self._source.where(path)
                yield Problem(where, fault.text, fault.fix or None, code="constant")
        except Exception as error:  # the action's own code, as above
            message = f"the check of action {action.name} fails: {type(error).__name__}"
            yield Problem(self._source.where_key(at), message, code="plugin")

    def expression(self, text: str, at: Path_, offered: Offered) -> CompiledExpression | None:
        """An `if`, `once_per` or `order_by`; None where it does not compile."""
        where, place = self._source.where(at), self._source.place(at)
        try:
            compiled = self._templates.expression(text, where, place=place, first_line=self._source.first_line(at))
        except TemplateError as error:
            self._refuse(error)
            return None
        self._check_names(compiled.references, at, offered, text, is_expression=True)
        return compiled

    def _part(self, part: Any, path: Path_, text: Text | None, is_top: bool, offered: Offered) -> Any:
        escape = text.escape if text is not None else None
        is_text = is_top and text is not None and not text.keeps_lone
        try:
            if isinstance(part, str):
                if "{" not in part:
                    return part
                leaf = self._templates.leaf(
                    part,
                    self._source.where(path),
                    as_text=is_text,
                    escape=escape,
                    keeps_lone=text is not None and text.keeps_lone,
                    place=self._source.place(path),
                    first_line=self._source.first_line(path),
                )
                self._check_names(leaf.references, path, offered, part)
                return part if leaf.is_constant else leaf
            if isinstance(part, dict):
                if is_text and set(part) == {"template"} and isinstance(part["template"], str):
                    leaf = self._templates.file(
                        part["template"], self._source.where((*path, "template")), escape=escape
                    )
                    self._check_names(leaf.references, path, offered)
                    return leaf
                return {key: self._part(value, (*path, key), text, False, offered) for key, value in part.items()}
            if isinstance(part, list):
                return [self._part(value, (*path, i), text, False, offered) for i, value in enumerate(part)]
        except TemplateError as error:
            self._refuse(error)
            return Unsound()
        return part

    def _refuse(self, error: TemplateError) -> None:
        for refusal in (error, *error.others):
            self._problems.append(Problem(refusal.where, refusal.message, code=refusal.code))

    def _check_names(
        self,
        references: tuple[Reference, ...],
        at: Path_,
        offered: Offered,
        text: str = "",
        *,
        is_expression: bool = False,
    ) -> None:
        def locate(reference: Reference, part: int) -> Where:
            stretch = reference.stretches[part]
            if reference.file is not None:
                return self._templates.in_file(reference.file, stretch, dotted(at))
            return self._source.place(at)(*stretch)

        self._problems += unknown_names(references, offered, locate)
        held = offered.held
        if held is None:
            return
        use = str(at[-1] if is_expression else at[5]) if len(at) > 5 or is_expression else ""
        if faults := self.stripe_check.faults(text, held, is_expression=is_expression, use=use):
            place = self._source.place(at)
            self._problems += [fault.problem(place(*stretch)) for stretch, fault in faults]
        for file in dict.fromkeys(reference.file for reference in references if reference.file is not None):
            faults = self.stripe_check.faults(self._templates.file_texts[file], held, use=use)
            self._problems += [
                fault.problem(self._templates.in_file(file, stretch, dotted(at))) for stretch, fault in faults
            ]

    def _known_beforehand(
        self, model: type[Settings], written: Mapping[str, Any], tree: Mapping[str, Any], at: Path_
    ) -> Iterator[Problem]:
        """What the model says of `with` as written, but for what templates will bring."""
        try:
            model.model_validate(dict(written))
        except ValidationError as error:
            for issue in explained(error, written, model, lambda path: self._source.written((*at, *path))):
                if issue.code in ("missing-key", "unknown-key") or not _leads_to_template(tree, issue.path):
                    path = (*at, *issue.path)
                    where = self._source.where_key(path) if issue.is_of_key else self._source.where(path)
                    yield Problem(where, issue.message, issue.hint, code=issue.code)


class Unsound:
    """Stands for a template that does not compile, so that nothing more is said of its value."""


def _items(field: Field, written: Mapping[str, Any]) -> frozenset[str] | None:
    """The names that an action brings to a field's templates; None where it does not say."""
    if field.deferred is None:
        return frozenset()
    if field.offers is None:
        return None
    return frozenset(field.offers.names) if field.offers.where is None or field.offers.where in written else frozenset()


def _within(offered: Offered, items: frozenset[str] | None, written: Mapping[str, Any]) -> Offered:
    """What is offered to the templates of one field, to which the action itself may bring more."""
    each = written.get("for_each") if items and "item" in items else None
    held = offered.held
    if held is not None and isinstance(each, str):
        held = dataclasses.replace(held, for_each=each)
    return (
        offered
        if items == offered.items and held is offered.held
        else dataclasses.replace(offered, items=items, held=held)
    )


def _leads_to_template(part: Any, path: Path_) -> bool:
    """Whether a path ends at, or passes through, a template."""
    for step in (None, *path):
        if step is not None:
            try:
                part = part[step]
            except (KeyError, IndexError, TypeError):
                return False
        if isinstance(part, (Leaf, Unsound)):
            return True
    return False
