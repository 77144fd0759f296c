"""The writer beside another process that holds the file, and on a disk that refuses."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from gateway.core.errors import StoreError, StoreUnavailable
from gateway.store.sqlite import writer as sqlite_writer
from gateway.store.sqlite.writer import Writer, connect
from tests.waiting import HANG_SECONDS


@contextlib.asynccontextmanager
async def writing(path: Path) -> AsyncIterator[Writer]:
    """A writer over a table `t`, whose arrivals are not used."""
    connect(path).execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
    writer = Writer(path, lambda connection, arrivals: [], lambda: None)
    try:
        yield writer
    finally:
        await writer.stop()


def insert(number: int) -> Callable[[sqlite3.Connection], int]:
    def work(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO t VALUES (?)", (number,))
        return number

    return work


def numbers(path: Path) -> list[int]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [number for (number,) in connection.execute("SELECT n FROM t ORDER BY n")]


async def test_while_another_process_writes_the_loop_goes_on_and_the_commit_follows(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with writing(path) as writer:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        asked = writer.do(insert(1))
        turns = 0
        async with asyncio.timeout(HANG_SECONDS):
            while turns < 50:  # the loop turns, though nothing can be written
                await asyncio.sleep(0.001)
                turns += 1
        assert not asked.done()
        other.execute("COMMIT")
        assert await asked == 1
    assert numbers(path) == [1]


async def test_a_lock_that_is_never_given_back_is_an_error_and_the_next_commit_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "LOCK_SECONDS", 0.05)
    path = tmp_path / "x.db"
    async with writing(path) as writer:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await writer.do(insert(1))
        other.execute("ROLLBACK")
        assert await writer.do(insert(2)) == 2
    assert numbers(path) == [2]


async def test_what_a_full_disk_refuses_fails_as_one_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with writing(path) as writer:
        await writer.do(lambda connection: connection.execute("PRAGMA max_page_count=3").fetchone())
        fits = writer.do(insert(1))
        too_much = writer.do(lambda c: c.execute("INSERT INTO t VALUES (zeroblob(1000000))"))
        with pytest.raises(StoreUnavailable, match="full"):
            await too_much
        with pytest.raises(StoreUnavailable, match="full"):  # they shared the commit
            await fits
        assert await writer.do(insert(3)) == 3
    assert numbers(path) == [3]


async def test_one_failing_work_undoes_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.db"

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (2)")
        raise ValueError("no")

    async with writing(path) as writer:
        first, second, third = writer.do(insert(1)), writer.do(broken), writer.do(insert(3))
        assert (await first, await third) == (1, 3)
        with pytest.raises(Exception, match="no"):
            await second
    assert numbers(path) == [1, 3]


async def test_of_works_that_share_a_go_a_failing_one_undoes_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    goes: list[list[int]] = []

    def insert_all(connection: sqlite3.Connection, values: Sequence[int]) -> list[int]:
        goes.append(list(values))
        connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
        if 2 in values:
            raise ValueError("no")
        return [-value for value in values]

    async with writing(path) as writer:
        asked = [writer.do_beside(insert_all, value) for value in (4, 5)]
        assert await asyncio.gather(*asked) == [-4, -5]
        first, second, third = (writer.do_beside(insert_all, value) for value in (1, 2, 3))
        assert (await first, await third) == (-1, -3)
        with pytest.raises(StoreError, match="no"):
            await second
    assert numbers(path) == [1, 3, 4, 5]
    assert goes == [[4, 5], [1, 2, 3], [1], [2], [3]]


@pytest.mark.parametrize(
    ("quick_seconds", "threads"), [(60.0, ["MainThread", "gateway-store"]), (0.0, ["gateway-store"] * 2)]
)
async def test_on_a_quick_disk_a_work_that_is_alone_waits_for_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_seconds: float, threads: list[str]
) -> None:
    path = tmp_path / "x.db"
    async with writing(path) as writer:
        assert await writer.do(insert(1)) == 1  # the first of a writer tells how quick the disk is
        monkeypatch.setattr(sqlite_writer, "QUICK_SECONDS", quick_seconds)
        seen: list[str] = []

        def note(statement: str) -> None:
            if statement == "COMMIT":
                seen.append(threading.current_thread().name)

        await writer.do(lambda connection: connection.set_trace_callback(note))
        seen.clear()
        assert await writer.do(insert(2)) == 2
        assert sum(await asyncio.gather(writer.do(insert(3)), writer.do(insert(4)))) == 7
        assert seen == threads
    assert numbers(path) == [1, 2, 3, 4]


async def test_stopping_finishes_what_was_asked_and_takes_no_more(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with writing(path) as writer:
        asked = [writer.do(insert(number)) for number in range(600)]
        await writer.stop()
        assert [future.result() for future in asked] == list(range(600))
        with pytest.raises(StoreUnavailable, match="closed"):
            writer.do(insert(1))
    assert numbers(path) == list(range(600))


async def test_another_process_s_commit_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "POLL_SECONDS", 0.01)
    path = tmp_path / "x.db"
    connect(path).execute("CREATE TABLE t (n INTEGER)")
    noticed = asyncio.Event()
    writer = Writer(path, lambda connection, arrivals: [], noticed.set)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("INSERT INTO t VALUES (1)")
    async with asyncio.timeout(HANG_SECONDS):
        await noticed.wait()
    await writer.stop()
