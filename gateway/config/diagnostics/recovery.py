"""Of a route or an account that is not valid, what is: so that one mistake does not hide the others in it."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from pydantic import Field, SecretStr, ValidationError

from gateway.config.diagnostics.pydantic_errors import explained
from gateway.config.schema.accounts import AccountSettings
from gateway.config.schema.routes import ActionSettings, RouteSettings
from gateway.config.schema.types import Section
from gateway.plugin import Name

S = TypeVar("S", bound=Section)


class _Route(RouteSettings):
    """A route that may lack what it must have."""

    events: list[str] = Field(default_factory=list)
    actions: dict[Name, ActionSettings] = Field(default_factory=dict)


class _Account(AccountSettings):
    """An account that may lack what it must have."""

    signing_secrets: list[SecretStr] = Field(default_factory=list)


def sound_route(written: dict[str, Any]) -> tuple[RouteSettings, bool]:
    """The route without its faulty parts, and whether it is whole. The faults themselves are told elsewhere."""
    try:
        return RouteSettings.model_validate(written), True
    except ValidationError:
        return _sound(_Route, written), False


def sound_account(written: dict[str, Any]) -> AccountSettings:
    """The account without its faulty parts."""
    try:
        return AccountSettings.model_validate(written)
    except ValidationError:
        return _sound(_Account, written)


def _sound(model: type[S], written: dict[str, Any]) -> S:
    left = copy.deepcopy(written)
    while True:
        try:
            return model.model_validate(left)
        except ValidationError as error:
            removed = False
            for issue in explained(error, left):
                # an action without its `with` says too much
                path = issue.path[:-1] if issue.path[-1:] == ("with",) else issue.path
                removed = _remove(left, path) or removed
            if not removed:
                return model()


def _remove(tree: Any, path: tuple[str | int, ...]) -> bool:
    """Takes out what is at a path; whether it was there."""
    for step in path[:-1]:
        is_there = step in tree if isinstance(tree, dict) else isinstance(tree, list) and step in range(len(tree))
        if not is_there:
            return False  # a removal before this one took it along
        tree = tree[step]
    last = path[-1] if path else None
    if isinstance(tree, dict) and last in tree:
        del tree[last]
        return True
    if isinstance(tree, list) and isinstance(last, int) and last < len(tree):
        del tree[last]
        return True
    return False
