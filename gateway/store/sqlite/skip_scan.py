"""Pages without sorting: an index holds each kind of row in order of arrival, and a page merges the kinds it wants.

A kind is one combination of the index's columns, such as (account, type, state). There are few of them, and each is
found by one leap in the index, however many rows it has.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.store.paging import MOST_KINDS
from gateway.store.records import PURGED

Kind = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SqliteSkipScanIndex:
    """An index whose entries of one kind lie in order of seq."""

    table: str
    columns: tuple[str, ...]
    condition: str  # of a partial index; `1` where there is none

    def kinds(self, connection: sqlite3.Connection) -> Iterator[Kind]:
        """Every kind there is, each by a leap past the one before."""
        names = ", ".join(self.columns)
        head = f"SELECT {names} FROM {self.table} WHERE {self.condition}"
        row = connection.execute(f"{head} ORDER BY {names} LIMIT 1").fetchone()
        while row is not None:
            kind: Kind = tuple(row)
            if kind[-1] != PURGED:
                yield kind
            for depth in range(len(self.columns) - 1, -1, -1):  # the next last column, else the next one before it
                same = "".join(f" AND {column} = ?" for column in self.columns[:depth])
                row = connection.execute(
                    f"{head}{same} AND {self.columns[depth]} > ? ORDER BY {names} LIMIT 1", kind[: depth + 1]
                ).fetchone()
                if row is not None:
                    break

    def wanted(self, connection: sqlite3.Connection, wants: Callable[[Kind], bool]) -> list[Kind]:
        """The kinds that a filter wants, bounded."""
        wanted: list[Kind] = []
        for number, kind in enumerate(self.kinds(connection)):
            if number >= MOST_KINDS:
                break
            if wants(kind):
                wanted.append(kind)
        return wanted

    def _terms(self) -> str:
        return " AND ".join([self.condition, *(f"{column} = ?" for column in self.columns)])

    def seqs(
        self,
        connection: sqlite3.Connection,
        kinds: Sequence[Kind],
        span: range,
        limit: int,
        *,
        oldest_first: bool,
    ) -> list[int]:
        """The first `limit` seqs of these kinds inside a span, in order."""
        low, high = span.start, span.stop
        order = "ASC" if oldest_first else "DESC"
        sql = (
            f"SELECT seq FROM {self.table} WHERE {self._terms()} AND seq >= ? AND seq < ? ORDER BY seq {order} LIMIT ?"
        )
        best: list[int] = []
        for kind in kinds:
            best += [seq for (seq,) in connection.execute(sql, (*kind, low, high, limit))]
            best.sort(reverse=not oldest_first)
            del best[limit:]
            if len(best) == limit:  # nothing beyond the last one can get in any more
                if oldest_first:
                    high = min(high, best[-1])
                else:
                    low = max(low, best[-1] + 1)
        return best

    def count(self, connection: sqlite3.Connection, kind: Kind, span: range, at_most: int) -> int:
        """How many of a kind lie inside a span, counted no further than `at_most`; all of them where that is -1."""
        rows = f"FROM {self.table} WHERE {self._terms()} AND seq >= ? AND seq < ?"
        sql, bounds = f"SELECT count(*) {rows}", (*kind, span.start, span.stop)
        if at_most >= 0:  # slower by half: each row passes through the inner query
            sql, bounds = f"SELECT count(*) FROM (SELECT 1 {rows} LIMIT ?)", (*bounds, at_most)
        (count,) = connection.execute(sql, bounds).fetchone()
        return int(count)


def ends(connection: sqlite3.Connection, table: str) -> tuple[int | None, int | None]:
    """The lowest and the highest seq. Asked for separately: together, SQLite would read the whole table. What purging
    left of an event has a negative one.
    """
    lowest, highest = connection.execute(
        f"SELECT (SELECT min(seq) FROM {table} WHERE seq > 0), (SELECT max(seq) FROM {table} WHERE seq > 0)"
    ).fetchone()
    return lowest, highest


def first_seq(connection: sqlite3.Connection, table: str, column: str, moment_ms: int) -> int:
    """The seq of the first row whose time, which grows with seq, is at or after a moment; past the last: one more than
    it. A search by halves along the primary key: twenty looks for a million rows, and no index to keep.
    """
    low, high = ends(connection, table)
    if low is None or high is None:
        return 0
    high += 1
    sql = f"SELECT seq, {column} FROM {table} WHERE seq >= ? ORDER BY seq LIMIT 1"
    while low < high:
        middle = (low + high) // 2
        seq, at = connection.execute(sql, (middle,)).fetchone()
        if at >= moment_ms:
            high = middle
        else:
            low = seq + 1
    return int(low)
