"""The configuration in force, and what became of each reload: for intake, delivery, metrics and the console."""

from __future__ import annotations

import weakref
from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from gateway.config.diagnostics.problem import Problem
from gateway.config.diff import Change, Orphan, compare_settings
from gateway.config.load import Config
from gateway.core.routing import RouteTable

REMEMBERED_RELOADS = 50
_alive: weakref.WeakSet[RuntimeConfig] = weakref.WeakSet()


def masked(value: Any) -> Any:
    """A value for the log: without the secrets of any configuration that is in force in this process, or was."""
    for runtime in list(_alive):
        value = runtime.config.masker.mask(value)
    return value


class ReloadOutcome(StrEnum):
    """What became of a reload."""

    LOADED = "loaded"  # the files' configuration is in force
    UNCHANGED = "unchanged"  # they say what was in force already
    REFUSED = "refused"  # they do not load: the old configuration stays in force


def may_hide(text: str) -> bool:
    """Whether `masked` may change a value whose JSON this is."""
    return any(runtime.config.masker.hides_in(text) for runtime in list(_alive))


@dataclass(frozen=True, slots=True)
class Reload:
    """One reload, or the start. Holds names and places, never a value."""

    at: datetime
    asked_by: str  # such as SIGHUP
    outcome: ReloadOutcome
    version: str  # in force afterwards
    seconds: float = 0.0
    problems: tuple[Problem, ...] = ()  # why it was refused
    changes: tuple[Change, ...] = ()
    orphans: tuple[Orphan, ...] = ()

    @property
    def error(self) -> str | None:
        """Every problem, where it was refused; else None."""
        return "\n".join(map(str, self.problems)) if self.outcome is ReloadOutcome.REFUSED else None

    @property
    def diff(self) -> str:
        """What changed, secrets masked, and whose deliveries nobody knows any more."""
        return "\n".join([*map(str, self.changes), *(f"{orphan}: no longer known" for orphan in self.orphans)])


class RuntimeConfig:
    """Holds what is in force. `config` and `table` change together, between two steps of the event loop: whoever took
    them goes on with what they took.
    """

    def __init__(self, config: Config, at: datetime) -> None:
        self.config = config
        self.table = RouteTable(config.routes)
        self.table.prepare()
        self.loaded_at = at
        self.history: deque[Reload] = deque(maxlen=REMEMBERED_RELOADS)  # the oldest first
        self.counts: Counter[ReloadOutcome] = Counter()
        self._started = config.settings
        _alive.add(self)
        self.note(Reload(at, "start", ReloadOutcome.LOADED, config.version))

    def in_force(self) -> tuple[Config, RouteTable]:
        """The configuration, and its routes."""
        return self.config, self.table

    @property
    def last(self) -> Reload:
        """The last reload, or the start."""
        return self.history[-1]

    def needs_restart(self, config: Config | None = None) -> tuple[str, ...]:
        """The settings of the configuration in force, or of `config`, that this process runs without: they are taken at
        start only.
        """
        settings = (config or self.config).settings
        return tuple(change.name for change in compare_settings(self._started, settings) if change.needs_restart)

    def take(self, config: Config, table: RouteTable, at: datetime) -> None:
        """Puts a configuration into force."""
        self.config, self.table, self.loaded_at = config, table, at

    def note(self, reload: Reload) -> None:
        """Keeps what became of a reload. One that changed nothing is counted, and not kept."""
        self.counts[reload.outcome] += 1
        if reload.outcome is not ReloadOutcome.UNCHANGED or self.last.outcome is ReloadOutcome.REFUSED:
            self.history.append(reload)
