"""A copy of a SQLite inbox while the gateway works on it, and such a copy put in its place again."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gateway.core.errors import StoreError, StoreMissing, StoreUnavailable, UsageError
from gateway.store.migrations.runner import HEAD, refuse_older

PAGES = 2000  # copied between two looks at how far it is

BackupProgress = Callable[[int, int], None]  # pages copied, pages in all


@dataclass(frozen=True, slots=True)
class Backup:
    """A file that was checked."""

    path: Path
    schema: str
    events: int
    deliveries: int
    size_bytes: int


def back_up(source: Path, target: Path, told: BackupProgress, *, replace: bool = False) -> Backup:
    """Copies the inbox as it stands at this moment to `target`: whole and checked, or not at all. Gateways go on
    meanwhile; none is held up. Raises StoreError, UsageError (a target that is there already, or is the inbox itself).
    """
    if not source.exists():
        raise StoreMissing(f"there is no inbox at {source} yet: nothing to back up")
    if target.exists() and (not replace or os.path.samefile(source, target)):
        raise UsageError(f"{target} is there already; name another file" + ("" if replace else ", or say --replace"))
    with _beside(target) as partial:
        try:
            with closing(_read_only(source)) as reader, closing(sqlite3.connect(partial)) as writer:
                # One snapshot for all steps: without it, SQLite begins anew whenever the gateway commits in between.
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
                reader.backup(writer, pages=PAGES, progress=lambda _, left, total: told(total - left, total))
                writer.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot back up {source} to {target}: {error}") from None
        backup = examine(partial)
        _to_disk(partial)
        os.replace(partial, target)
        _to_disk(target.parent)
    return Backup(target, backup.schema, backup.events, backup.deliveries, backup.size_bytes)


def examine(path: Path) -> Backup:
    """What a backup holds, once SQLite has checked every page and index of it. Raises StoreError."""
    if not path.exists():
        raise StoreMissing(f"there is no file {path}")
    try:
        with closing(_read_only(path)) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
            if problems != ["ok"]:
                raise StoreError(f"{path} is damaged: {'; '.join(problems)}")
            (schema,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            (events,) = connection.execute("SELECT count(*) FROM events WHERE seq > 0").fetchone()
            (deliveries,) = connection.execute("SELECT count(*) FROM deliveries").fetchone()
    except (sqlite3.Error, TypeError) as error:
        raise StoreError(f"{path} is no backup of an inbox: {error}") from None
    return Backup(path, schema, events, deliveries, path.stat().st_size)


def restore(backup: Path, target: Path) -> tuple[Backup, Path | None]:
    """Puts a checked copy of a backup in the inbox's place, and what was there aside: where to. No gateway may run on
    it: the caller holds the inbox's lock. Raises StoreError.
    """
    examined = examine(backup)
    if examined.schema > HEAD:
        raise StoreError(f"{backup} was written by a newer gateway (schema {examined.schema}, this one knows {HEAD})")
    refuse_older(str(backup), examined.schema)
    with _beside(target) as partial:
        try:
            with closing(_read_only(backup)) as reader, closing(sqlite3.connect(partial)) as writer:
                reader.backup(writer)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot copy {backup} to {target}: {error}") from None
        _to_disk(partial)
        aside = _put_aside(target)
        os.replace(partial, target)
        _to_disk(target.parent)
    return examined, aside


def _put_aside(target: Path) -> Path | None:
    """Renames the inbox together with its log, which belongs to it alone; under a name that is free."""
    here = [target.with_name(target.name + end) for end in ("-wal", "-shm", "")]
    if not any(path.exists() for path in here):
        return None
    number = 1
    while (aside := target.with_name(f"{target.name}.before-restore-{number}")).exists():
        number += 1
    for path, end in zip(here, ("-wal", "-shm", ""), strict=True):
        if path.exists():
            os.rename(path, aside.with_name(aside.name + end))
    return aside


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A file of this user's alone, beside the target; gone at the end, if it has not become the target."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield partial
    except OSError as error:
        raise StoreUnavailable(f"cannot write {target}: {error.strerror}") from None
    finally:
        for end in ("", "-journal", "-wal", "-shm"):
            partial.with_name(partial.name + end).unlink(missing_ok=True)


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
