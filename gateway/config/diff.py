"""Pure: two configurations -> what changes from one to the other, by names alone, so that no secret can show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.config.load import Config
from gateway.config.schema.model import GatewaySettings
from gateway.core.model import Lane

Kind = Literal["account", "connection", "route", "action", "setting", "file"]
What = Literal["added", "removed", "changed"]

NEEDS_RESTART = (
    "server.listen",
    "server.tls",
    "server.workers",
    "admin.listen",
    "admin.token",
    "admin.viewer_token",
    "admin.tokens",
    "store.url",
    "store.password",
    "store.encrypt",
    "store.compress",
    "log",
    "reload",
    "tracing",
)
"""What is taken once, at start. A change of the files behind `server.tls` is taken by a reload."""

_NAMED = ("accounts", "connections", "routes")  # compared member by member


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is there, gone or different."""

    kind: Kind
    name: str  # of an action: route.action
    what: What
    keys: tuple[str, ...] = ()  # which of its keys changed
    needs_restart: bool = False

    def __str__(self) -> str:
        keys = f": {', '.join(self.keys)}" if self.keys else ""
        return f"{self.kind} {self.name} {self.what}{keys}" + (" (needs a restart)" if self.needs_restart else "")


@dataclass(frozen=True, slots=True)
class Orphan:
    """Waiting deliveries whose account, route or action a new configuration no longer has."""

    account: str
    route: str
    action: str
    waiting: int

    def __str__(self) -> str:
        return f"{self.waiting} waiting of action {self.route}.{self.action} for account {self.account}"


def compare(old: Config, new: Config) -> tuple[Change, ...]:
    """All changes, in the order of the file."""
    return (
        *compare_settings(old.settings, new.settings),
        *_members("account", _dumped(old.settings.accounts), _dumped(new.settings.accounts)),
        *_members("connection", _dumped(old.connections), _dumped(new.connections)),
        *_routes(_dumped(old.settings.routes), _dumped(new.settings.routes)),
        *_files(old, new),
    )


def compare_settings(old: GatewaySettings, new: GatewaySettings) -> Iterator[Change]:
    """What changes beside accounts, connections and routes."""
    sections = [name for name in type(new).model_fields if name not in _NAMED]
    before, after = (settings.model_dump(by_alias=True, include=set(sections)) for settings in (old, new))
    for name in sections:
        for key in _differing(before[name], after[name], name):
            is_fixed = any(key == fixed or key.startswith(f"{fixed}.") for fixed in NEEDS_RESTART)
            # certificates are read again from wherever they are, but a listener cannot begin or cease to use TLS
            if key.startswith("server.tls."):
                is_fixed = False
            yield Change("setting", key, "changed", needs_restart=is_fixed)


def orphans(waiting: Mapping[Lane, int], old: Config, new: Config) -> tuple[Orphan, ...]:
    """Of the waiting deliveries of each lane, those that the new configuration would no longer know."""
    known, kept = _lanes(old), _lanes(new)
    return tuple(
        Orphan(lane.account, lane.route, lane.action, count)
        for lane, count in sorted(waiting.items())
        if _is_known(lane, old, known) and not _is_known(lane, new, kept)
    )


def _lanes(config: Config) -> set[tuple[str, str]]:
    return {(route.name, action.name) for route in config.routes for action in route.actions}


def _is_known(lane: Lane, config: Config, lanes: set[tuple[str, str]]) -> bool:
    return config.account(lane.account) is not None and (lane.route, lane.action) in lanes


def _dumped(members: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: member.model_dump(by_alias=True) for name, member in members.items()}


def _members(kind: Kind, old: Mapping[str, Any], new: Mapping[str, Any], within: str = "") -> Iterator[Change]:
    for name in [*new, *(name for name in old if name not in new)]:
        if name not in old:
            yield Change(kind, within + name, "added")
        elif name not in new:
            yield Change(kind, within + name, "removed")
        elif keys := tuple(_differing(old[name], new[name])):
            yield Change(kind, within + name, "changed", keys)


def _routes(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> Iterator[Change]:
    actions_before = {name: route.pop("actions") for name, route in old.items()}
    actions_after = {name: route.pop("actions") for name, route in new.items()}
    yield from _members("route", old, new)
    for name in [*new, *(name for name in old if name not in new)]:
        yield from _members("action", actions_before.get(name, {}), actions_after.get(name, {}), f"{name}.")


def _files(old: Config, new: Config) -> Iterator[Change]:
    before, after = _by_name(old), _by_name(new)
    for name, digest in after.items():
        if name not in before:
            yield Change("file", name, "added")
        elif before[name] != digest:
            yield Change("file", name, "changed")
    yield from (Change("file", name, "removed") for name in before if name not in after)


def _by_name(config: Config) -> dict[str, str]:
    """Digests by the file's place in the configuration's folder, which itself may have moved."""
    return {
        str(file.relative_to(config.folder) if file.is_relative_to(config.folder) else file): digest
        for file, digest in sorted(config.digests.items())
    }


def _differing(old: Any, new: Any, at: str = "") -> Iterator[str]:
    """The paths at which two plain values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(key for key in old if key not in new)]:
            path = f"{at}.{key}" if at else str(key)
            if key not in old or key not in new:
                yield path
            else:
                yield from _differing(old[key], new[key], path)
    elif old != new:
        yield at
