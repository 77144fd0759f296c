"""Reloading: the files' configuration into force, all of it or nothing. Reads beside the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from gateway.config.diagnostics.problem import ConfigError, Problem, counted
from gateway.config.diff import Change, Orphan, compare, orphans
from gateway.config.files import Inputs, Stamps, inputs_of
from gateway.config.load import Config
from gateway.config.plugins import forget_all_but
from gateway.config.runtime import Reload, ReloadOutcome, RuntimeConfig
from gateway.core.errors import GatewayError, StoreError, Where
from gateway.core.model import Lane
from gateway.core.routing import RouteTable

Load = Callable[[Config], Awaitable[Config]]
"""Reads the configuration anew; is given the one in force. Raises ConfigError."""

Prepare = Callable[[Config], Callable[[RouteTable], None]]
"""Checks, off the event loop, what a configuration needs beside its files, and gives what puts it into force. Raises
GatewayError.
"""

Waiting = Callable[[], Awaitable[Mapping[Lane, int]]]


class Reloader:
    """One a gateway. One reload at a time."""

    def __init__(
        self,
        live: RuntimeConfig,
        load: Load,
        prepare: Prepare,
        waiting: Waiting,
        log: FilteringBoundLogger,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_reload: Callable[[Reload], None] = lambda result: None,
    ) -> None:
        self.live = live
        self.inputs: Inputs = inputs_of(live.config)
        self.stamps: Stamps = self.inputs.stamps()
        self._load = load
        self._prepare = prepare
        self._waiting = waiting
        self._log = log
        self._now = now
        self._on_reload = on_reload
        self._lock = asyncio.Lock()
        self._begun: tuple[float, Reload, Callable[[], None] | None] | None = None  # between `begin` and `end`
        self._logged: tuple[str, ...] = ()  # problems in the log already

    async def reload(self, asked_by: str) -> Reload:
        """Reads all files and puts them into force, or changes nothing. Raises nothing."""
        await self.begin(asked_by)
        return self.end()

    async def begin(self, asked_by: str) -> Reload:
        """Reads all files, and says what `end` would do, which must follow. Until then no other reload begins."""
        await self._lock.acquire()
        try:
            start = time.monotonic()
            result, put_into_force = await self._read(asked_by)
        except BaseException:
            self._lock.release()
            raise
        self._begun = (start, result, put_into_force)
        return result

    def end(self, refused_elsewhere: Sequence[Problem] = (), *, is_told: bool = True) -> Reload:
        """Puts what `begin` read into force, or leaves all as it was: where it did not load, or another process of this
        gateway refused it. `is_told` False: another process logs and counts it.
        """
        assert self._begun is not None
        (start, result, put_into_force), self._begun, live = self._begun, None, self.live
        try:
            if refused_elsewhere and result.outcome is not ReloadOutcome.REFUSED:
                forget_all_but(live.config.actions)
                result = Reload(
                    result.at, result.asked_by, ReloadOutcome.REFUSED, "", problems=tuple(refused_elsewhere)
                )
            elif put_into_force is not None:
                put_into_force()
            result = replace(result, version=live.config.version, seconds=time.monotonic() - start)
            live.note(result)
            if is_told:
                self._on_reload(result)
                self._log_result(result)
            return result
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """Ends what `begin` began, as if it had not been."""
        self._begun = None
        forget_all_but(self.live.config.actions)
        self._lock.release()

    async def preview(self, asked_by: str, path: Path | None = None) -> Reload:
        """What a reload would do; or what it would do were gateway.yaml the file at `path`. Changes nothing; `version`
        is the one that it would put into force.
        """
        async with self._lock:
            if path is not None and await asyncio.to_thread(_is_same_file, path, self.live.config.path):
                path = None
            inputs, stamps = self.inputs, self.stamps
            result, _ = await self._read(asked_by, path)
            self.inputs, self.stamps = inputs, stamps
            forget_all_but(self.live.config.actions)
            return result

    async def _read(self, asked_by: str, path: Path | None = None) -> tuple[Reload, Callable[[], None] | None]:
        """What the files say, and what puts it into force."""
        live, at = self.live, self._now()
        before = await asyncio.to_thread(self.inputs.stamps)
        try:
            config = await self._load(live.config if path is None else replace(live.config, path=path))
            table, apply, changes = await asyncio.to_thread(self._prepared, config)
        except Exception as error:  # plugins' code runs here as well; nothing in a file may end the gateway
            files = error.files if isinstance(error, ConfigError) else ()
            await self._remember(inputs_of(live.config, files), before)
            forget_all_but(live.config.actions)
            problems = _problems(error, path or live.config.path)
            return Reload(at, asked_by, ReloadOutcome.REFUSED, live.config.version, problems=problems), None
        await self._remember(inputs_of(config), before)
        is_same = config.version == live.config.version and not changes

        def put_into_force() -> None:
            live.take(config, table, live.loaded_at if is_same else at)
            apply(table)
            forget_all_but(config.actions)

        outcome = ReloadOutcome.UNCHANGED if is_same else ReloadOutcome.LOADED
        orphaned = await self._orphans(config) if any(change.what == "removed" for change in changes) else ()
        return Reload(at, asked_by, outcome, config.version, changes=changes, orphans=orphaned), put_into_force

    def _prepared(self, config: Config) -> tuple[RouteTable, Callable[[RouteTable], None], tuple[Change, ...]]:
        table = RouteTable(config.routes)
        table.prepare()
        return table, self._prepare(config), compare(self.live.config, config)

    async def _remember(self, inputs: Inputs, before: Stamps) -> None:
        """A file that has changed since the reading began counts as changed after it."""
        after = await asyncio.to_thread(inputs.stamps)
        self.inputs, self.stamps = inputs, {path: before.get(path, stamp) for path, stamp in after.items()}

    async def _orphans(self, config: Config) -> tuple[Orphan, ...]:
        try:
            return orphans(await self._waiting(), self.live.config, config)
        except StoreError as error:
            self._log.warning("config.orphans_unknown", error=str(error))
            return ()

    def _log_result(self, result: Reload) -> None:
        config = self.live.config
        details = {"asked_by": result.asked_by, "version": result.version, "seconds": round(result.seconds, 3)}
        if result.outcome is ReloadOutcome.REFUSED:
            logged, self._logged = self._logged, tuple(str(problem) for problem in result.problems)
            is_same = self._logged == logged
            for problem in result.problems if not is_same else ():
                if problem.severity == "warning":
                    self._log.warning("config.warning", problem=str(problem), code=problem.code)
                else:
                    self._log.error("config.problem", problem=str(problem), code=problem.code)
            self._log.error("config.refused", problems=counted(result.problems), still_the_same=is_same, **details)
            return
        self._logged = ()
        if result.outcome is ReloadOutcome.UNCHANGED:
            self._log.info("config.unchanged", **details)
            return
        self._log.info("config.loaded", changes=[str(change) for change in result.changes], **details)
        for warning in config.warnings:
            self._log.warning("config.warning", problem=str(warning), code=warning.code)
        if settings := self.live.needs_restart():
            self._log.warning("config.needs_restart", settings=list(settings))
        for orphan in result.orphans:
            self._log.warning(
                "config.orphans",
                account=orphan.account,
                route=orphan.route,
                action=orphan.action,
                waiting=orphan.waiting,
            )


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _problems(error: Exception, path: Path) -> tuple[Problem, ...]:
    if isinstance(error, ConfigError):
        return error.problems
    where = Where(str(path), 1, 1)
    if isinstance(error, GatewayError):
        return (Problem(where, str(error), code="unreadable"),)
    if isinstance(error, OSError):
        return (Problem(where, f"cannot read {error.filename}: {error.strerror}", code="unreadable"),)
    return (Problem(where, f"reading it failed: {type(error).__name__}: {error}", code="unreadable"),)
