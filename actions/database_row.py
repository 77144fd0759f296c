"""A row that db_upsert is to write, and what keeps it from being one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One row to be written."""

    key: Mapping[str, Any]
    values: Mapping[str, Any]
    insert_only: Mapping[str, Any] = field(default_factory=dict)  # what only a new row gets
    newest: str | None = None  # the column that tells which of two is newer, one of `values`

    @property
    def columns(self) -> dict[str, Any]:
        """All that an INSERT names."""
        return {**self.key, **self.values, **self.insert_only}

    def spelled(self, spelling: Callable[[str], str]) -> Row:
        """The same with other names for its columns."""

        def part(columns: Mapping[str, Any]) -> dict[str, Any]:
            return {spelling(column): value for column, value in columns.items()}

        newest = spelling(self.newest) if self.newest is not None else None
        return replace(
            self, key=part(self.key), values=part(self.values), insert_only=part(self.insert_only), newest=newest
        )


def row_faults(
    key: Mapping[str, Any], values: Iterable[str], insert_only: Iterable[str], newest: str | None
) -> Iterable[str]:
    """A key that names no column, and columns that are named beside it or twice."""
    if not key:
        yield "key names no column: give at least one"
    values, insert_only = list(values), list(insert_only)
    for part, columns in (("values", values), ("insert_only", insert_only)):
        for column in columns:
            if column in key:
                yield f"column {column} is in key and in {part}: leave it in key only"
    for column in insert_only:
        if column in values or column == newest:
            place = "values" if column in values else "newest"
            yield f"column {column} is in insert_only and in {place}: what only a new row gets is not overwritten"
    if newest in key:
        yield f"newest.column {newest} is in key: a key never changes, so no row could be newer"
