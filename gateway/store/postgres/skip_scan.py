"""Pages without sorting, on PostgreSQL: an index holds each kind of row in order of arrival, and a page merges the
kinds that it wants. See `sqlite_kinds` for what a kind is; here all of it is one statement, and so one view of the
store.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.store.paging import MOST_KINDS, STEP_BACK_MS
from gateway.store.postgres.filters import Terms
from gateway.store.records import PURGED, milliseconds


@dataclass(frozen=True, slots=True)
class PostgresSkipScanIndex:
    """An index by kind, then by seq, which also holds the row's time."""

    table: str
    columns: tuple[str, ...]
    condition: str  # of a partial index, of rows t; `true` where there is none
    time: str  # the column that grows with seq

    def kinds(self) -> str:
        """The table expression `kind`, for WITH RECURSIVE: every kind there is, each by a leap past the one before."""
        names = ", ".join(self.columns)
        head = f"SELECT {names} FROM {self.table} t WHERE {self.condition}"
        beyond = f"({names}) > ({', '.join(f'kind.{column}' for column in self.columns)})"
        return (
            f"kind AS (({head} ORDER BY {names} LIMIT 1) UNION ALL"
            f" SELECT following.* FROM kind, LATERAL ({head} AND {beyond} ORDER BY {names} LIMIT 1) following)"
        )

    def wanted(self, alias: str, terms: Terms) -> str:
        """Those kinds, as rows of `alias`, that fit terms on them; bounded, and without what purging left of events."""
        seen = f"{self.columns[-1]} <> '{PURGED}'"
        return f"(SELECT * FROM (SELECT * FROM kind LIMIT {MOST_KINDS}) {alias} WHERE {seen} AND {terms}) {alias}"

    def of_kind(self, kind: str) -> str:
        """The condition for a row t to be of a kind; `kind` has the columns, with {} for the name of one."""
        return " AND ".join([self.condition, *(f"t.{column} = {kind.format(column)}" for column in self.columns)])

    def page(self, alias: str, terms: Terms, bounds: Terms, limit: str, *, oldest_first: bool) -> str:
        """Table expressions for WITH RECURSIVE that end in `merged`, of which the last row by `place` holds the first
        seqs of the kinds that fit `terms`, among rows t that fit `bounds`. Of each kind no more is read than can still
        get into the page.
        """
        order, better = ("ASC", "<") if oldest_first else ("DESC", ">")
        beyond_all = 0 if better == ">" else 2**62
        arrays = ", ".join(f"array_agg({column}) AS {column}" for column in self.columns)
        return (
            f"{self.kinds()}, wanted AS (SELECT {arrays} FROM {self.wanted(alias, terms)}), merged(place, seqs) AS ("
            "SELECT 0, '{}'::bigint[] UNION ALL SELECT m.place + 1, ARRAY("
            " SELECT one.seq FROM (SELECT unnest(m.seqs) AS seq UNION ALL ("
            f" SELECT t.seq FROM {self.table} t WHERE {self.of_kind('w.{}[m.place + 1]')} AND {bounds}"
            f" AND t.seq {better} coalesce(m.seqs[{limit}], {beyond_all}) ORDER BY t.seq {order} LIMIT {limit}"
            f" )) one ORDER BY one.seq {order} LIMIT {limit})"
            f" FROM merged m, wanted w WHERE m.place < cardinality(w.{self.columns[0]}))"
        )

    def bounds(self, since: datetime | None, until: datetime | None, values: list[object], alias: str = "t") -> Terms:
        """Terms on rows: exactly a stretch of time, found without reading what lies before and after it, and nothing of
        what purging left of events.
        """
        terms = Terms(values)
        terms.any_of([f"{alias}.seq > 0"])
        if since is not None:
            terms.add(f"{alias}.{self.time} >= {{}}", milliseconds(since))
            terms.add(f"{alias}.seq >= {self._first_seq()}", milliseconds(since) - STEP_BACK_MS)
        if until is not None:
            terms.add(f"{alias}.{self.time} < {{}}", milliseconds(until))
            terms.add(f"{alias}.seq < {self._first_seq()}", milliseconds(until) + STEP_BACK_MS)
        return terms

    def _first_seq(self) -> str:
        """The seq of the first row at or after a time; past the last: one more than it. A search by halves."""
        return (
            "(WITH RECURSIVE half(low, high) AS ("
            f"SELECT (SELECT min(seq) FROM {self.table} WHERE seq > 0),"
            f" (SELECT max(seq) + 1 FROM {self.table} WHERE seq > 0)"
            " UNION ALL SELECT CASE WHEN f.at >= {0} THEN h.low ELSE f.seq + 1 END,"
            " CASE WHEN f.at >= {0} THEN (h.low + h.high) / 2 ELSE h.high END"
            f" FROM half h, LATERAL (SELECT seq, {self.time} AS at FROM {self.table}"
            " WHERE seq >= (h.low + h.high) / 2 ORDER BY seq LIMIT 1) f WHERE h.low < h.high"
            ") SELECT low FROM half WHERE low >= high LIMIT 1)"
        )
