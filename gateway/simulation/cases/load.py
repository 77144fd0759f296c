"""Test files -> cases with the place of each line, or every problem at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config.diagnostics.excerpts import Excerpts
from gateway.config.diagnostics.problem import Problem
from gateway.config.diagnostics.pydantic_errors import problems_of
from gateway.config.load import Config
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.internal_events import account_named
from gateway.core.spelling import did_you_mean
from gateway.simulation.cases.matchers import lint
from gateway.simulation.cases.schema import CaseFile, CaseSettings, CaseStep, Expected


@dataclass(frozen=True, slots=True)
class Case:
    """One case, as written."""

    file: str
    name: str
    account: str | None  # None: the first of the config
    env: Mapping[str, str]
    settings: CaseSettings
    expected: Expected | None  # None: nothing
    source: Source
    then: tuple[tuple[CaseStep, Expected], ...] = ()

    @property
    def at(self) -> Path_:
        """Its path in the file."""
        return ("cases", self.name)

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return self.source.folder


def load_cases(path: Path) -> tuple[list[Case], list[Problem]]:
    """The cases of one file, and what is wrong with it."""
    source = Source(path, {})
    if not source.value:
        problems = source.problems or [Problem(source.where(()), "holds no cases", code="missing-key")]
        return [], _excerpted(problems, source)
    problems = source.problems
    file = _validated(CaseFile, source.value, (), source, problems)
    if file is None:
        return [], _excerpted(problems, source)
    cases = []
    for name, settings in file.cases.items():
        at: Path_ = ("cases", name)
        expected = None
        if settings.expect != "nothing":
            expected = _expected(settings.expect, (*at, "expect"), source, problems)
        cases.append(
            Case(
                file=str(path),
                name=name,
                account=settings.account or file.account,
                env={**file.env, **settings.env},
                settings=settings,
                expected=expected,
                source=source,
                then=_steps(settings.then, (*at, "then"), source, problems),
            )
        )
    return cases, _excerpted(problems, source)


def _excerpted(problems: Iterable[Problem], source: Source) -> list[Problem]:
    """The same with their source lines."""
    excerpts = Excerpts(source)
    return [excerpts.explain(problem) for problem in problems]


def _validated(model: Any, value: Any, at: Path_, source: Source, problems: list[Problem]) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems += problems_of(error, value, model, source, at)
        return None


def _steps(
    steps: Sequence[CaseStep], at: Path_, source: Source, problems: list[Problem]
) -> tuple[tuple[CaseStep, Expected], ...]:
    """Later times with what is expected then, in their order."""
    sound = []
    for i, step in enumerate(steps):
        if i and step.at < steps[i - 1].at:
            problems.append(Problem(source.where((*at, i, "at")), "is earlier than the step before it"))
        expected = _expected(step.expect, (*at, i, "expect"), source, problems)
        if expected is not None:
            sound.append((step, expected))
    return tuple(sound)


def _expected(written: Any, at: Path_, source: Source, problems: list[Problem]) -> Expected | None:
    if not isinstance(written, dict) or not written:
        problems.append(Problem(source.where(at), "expected nothing, or a mapping: state, routes, deliveries"))
        return None
    expected: Expected | None = _validated(Expected, written, at, source, problems)
    if expected is None:
        return None
    problems += [Problem(source.where((*at, *path)), message) for path, message in _routes(expected.routes)]
    for route, actions in expected.deliveries.items():
        for action, delivery in actions.items():
            if delivery is None:
                continue
            here = (*at, "deliveries", route, action)
            for key in sorted(delivery.model_fields_set):
                field = "with" if key == "with_" else key
                for path, message, hint in lint(getattr(delivery, key)):
                    problems.append(Problem(source.where_key((*here, field, *path)), message, hint))
    return expected


def _routes(written: Any) -> Iterator[tuple[Path_, str]]:
    """What is wrong with `routes`."""
    if written is None:
        return
    if isinstance(written, list):
        for i, name in enumerate(written):
            if not isinstance(name, str):
                yield ("routes", i), "expected the name of a route"
    elif isinstance(written, dict):
        for name, actions in written.items():
            if actions is not None and not (isinstance(actions, list) and all(isinstance(a, str) for a in actions)):
                yield ("routes", name), "expected a list of actions"
    else:
        yield ("routes",), "expected a list of routes, or a mapping from routes to lists of actions"


def unknown_names(case: Case, config: Config) -> list[Problem]:
    """Accounts, routes and actions that the config does not have."""
    return _excerpted(_unknown_names(case, config), case.source)


def _unknown_names(case: Case, config: Config) -> Iterator[Problem]:
    at = case.at
    if case.account is not None and account_named(config.accounts, case.account) is None:
        where = case.source.where(("account",) if case.settings.account is None else (*at, "account"))
        hint = did_you_mean(case.account, config.accounts)
        yield Problem(where, f"unknown account {case.account!r}", hint, code="unknown-account")
    every = {action.name for route in config.routes for action in route.actions}
    for section in ("outputs", "answers", "failures"):
        for name in getattr(case.settings, section):
            if name not in every:
                where = case.source.where_key((*at, section, name))
                yield Problem(where, f"unknown action {name!r}", did_you_mean(name, every), code="unknown-action")
    if case.expected is not None:
        yield from _unknown_expected(case, case.expected, (*at, "expect"), config)
    for i, (_, expected) in enumerate(case.then):
        yield from _unknown_expected(case, expected, (*at, "then", i, "expect"), config)


def _unknown_expected(case: Case, expected: Expected, here: Path_, config: Config) -> Iterator[Problem]:
    routes = {route.name: {action.name for action in route.actions} for route in config.routes}
    named: list[tuple[Path_, str, dict[Path_, str]]] = []
    expected_routes = expected.routes or []
    for i, name in enumerate(expected_routes):
        is_list = isinstance(expected_routes, list)
        actions: dict[Path_, str] = {}
        if not is_list:
            actions.update({("routes", name, k): action for k, action in enumerate(expected_routes[name] or ())})
        named.append((("routes", i if is_list else name), name, actions))
    for name, deliveries in expected.deliveries.items():
        actions = dict[Path_, str]({("deliveries", name, action): action for action in deliveries})
        for action, delivery in deliveries.items():
            after = delivery.after if delivery is not None and delivery.after is not None else []
            actions.update({("deliveries", name, action, "after", k): needed for k, needed in enumerate(after)})
        named.append((("deliveries", name), name, actions))
    for at, name, actions in named:
        if name not in routes:
            where = case.source.where_key((*here, *at))
            yield Problem(where, f"unknown route {name!r}", did_you_mean(name, routes), code="unknown-route")
            continue
        for path, action in actions.items():
            if action not in routes[name]:
                where = case.source.where_key((*here, *path))
                hint = did_you_mean(action, routes[name])
                yield Problem(where, f"route {name} has no action {action!r}", hint, code="unknown-action")
