"""Routes that somebody is trying out in the console: compiled against the configuration in force, and sealed.

A draft brings `routes` and `vars`. Accounts, connections and plugins are those in force. It reads no file but the
templates that the configuration uses, no environment variable and no secret, so that nothing can be looked up with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.config.diagnostics.problem import ConfigError, Problem
from gateway.config.load import Config, Loading
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.config.yaml.variables import Variables
from gateway.core.errors import Where
from gateway.core.model import Account
from gateway.plugin import ConnectionSettings

MOST_CHARACTERS = 64 * 1024
_ALLOWED = ("routes", "vars", "version")


class _Sealed(Mapping[str, str]):
    """An environment in which every variable is set, to a text that says its name."""

    def __getitem__(self, name: str) -> str:
        return f"<{name}>"

    def __contains__(self, name: object) -> bool:
        return False  # so that defaults hold

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _SealedVariables(Variables):
    """Secret files are not read either."""

    def _file(self, name: str) -> str:
        return f"<file:{name}>"


class _DraftSource(Source):
    """A text instead of files."""

    def __init__(self, text: str, folder: Path) -> None:
        self._text = text
        super().__init__(Path("draft"), _Sealed(), folder=folder)

    def _variables(self, environ: Mapping[str, str]) -> Variables:
        return _SealedVariables(environ, self.folder, lambda value: None, lambda file: None)

    def _read(self, path: Path) -> bytes:
        return self._text.encode("utf-8", "replace")

    def _include(self, into: dict[str, Any], pattern: str, at: Path_, seen: set[Path]) -> None:
        """Looks for no file."""


class _Draft(Loading):
    """Loads a draft: what it does not bring is that of `base`."""

    def __init__(self, base: Config, text: str) -> None:
        self.base = base
        super().__init__(Path("draft"), _Sealed(), _DraftSource(text, base.folder), only=base.template_files)
        value = self.source.value
        for key in list(value):
            if key not in _ALLOWED:
                hint = "accounts, connections and plugins are those of the running gateway"
                self.problem(self.source.where_key((key,)), f"a draft holds routes and vars, not {key}", hint)
                del value[key]
        if value:
            value.setdefault("version", 1)
            value.setdefault("vars", dict(base.vars))
            value["accounts"] = {name: {"signing_secrets": [f"draft {name}"]} for name in base.accounts}
            value["connections"] = {name: {"type": connection.type} for name, connection in base.connections.items()}

    def _find_actions(self) -> None:
        self.actions = dict(self.base.actions)
        self.plugin_files = set()

    def _accounts(self) -> Iterable[tuple[str, Account]]:
        return self.base.accounts.items()

    def _connections(self) -> dict[str, ConnectionSettings]:
        return dict(self.base.connections)

    def _lint(self, *parts: Any) -> Iterator[Problem]:
        return iter(())  # accounts and connections are not the draft's


def load_draft(base: Config, text: str) -> Config:
    """The configuration as it would be with these routes. Raises ConfigError with all problems."""
    if len(text) > MOST_CHARACTERS:
        where = Where("draft", 1, 1)
        raise ConfigError("the draft", [Problem(where, f"it is longer than {MOST_CHARACTERS // 1024} KiB")])
    loaded = _Draft(base, text).load()
    return replace(base, routes=loaded.routes, vars=loaded.vars)
