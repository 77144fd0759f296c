"""Inserts or updates rows by key. Safe to run twice: the same key and values make the same row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from actions.database_action import Database, DatabaseAction
from gateway.plugin import (
    Connection,
    Context,
    DatabaseConnection,
    Deferred,
    Finding,
    Offers,
    ProbeContext,
    Reject,
    Settings,
)

if TYPE_CHECKING:  # SQLAlchemy takes long to import: `gateway check` does without
    from actions.database_table import KnownTable

_MOST_ROWS = 10_000
_ITEM = Offers("item", where="for_each")


class Newest(BaseModel):
    """Which column tells how new a row is."""

    model_config = ConfigDict(extra="forbid")

    column: str = Field(description="The column that says how new a row is.", examples=["stripe_created"])
    value: Any = Field(
        description="What this row has there; equal overwrites, lower does not.", examples=["{{ event.created }}"]
    )


class DbUpsertSettings(Settings):
    """`with` of db_upsert."""

    connection: Annotated[str, Connection(DatabaseConnection)] = Field(
        description="A connection of type database.", examples=["shop"]
    )
    table: str = Field(min_length=1, description="The table, or schema.table.", examples=["orders"])
    key: Annotated[Deferred[dict[str, Any]], _ITEM] = Field(
        description="Columns that identify the row; they need a unique index.",
        examples=[{"session_id": "{{ object.id }}"}],
    )
    values: Annotated[Deferred[dict[str, Any]] | None, _ITEM] = Field(
        None, description="The other columns.", examples=[{"amount": "{{ object.amount_total }}"}]
    )
    newest: Annotated[Deferred[Newest] | None, _ITEM] = Field(
        None,
        description="column and value: an older row never overwrites.",
        examples=[{"column": "stripe_created", "value": "{{ event.created }}"}],
    )
    on_conflict: Literal["update", "ignore"] = Field(
        "update", description="update, or ignore: keep what is there.", examples=["ignore"]
    )
    for_each: list[Any] | None = Field(
        None,
        description="One row for each element, called item; all or none.",
        examples=["{{ object.line_items.data }}"],
    )
    ensure_table: bool = Field(False, description="Creates the table if there is none.", examples=[True])

    @classmethod
    def check(cls, written: Mapping[str, Any]) -> Iterable[str]:
        """A key that names no column, and columns named twice."""
        key, values, newest = written.get("key"), written.get("values"), written.get("newest")
        if isinstance(key, Mapping):
            column = newest.get("column") if isinstance(newest, Mapping) else None
            yield from _key_faults(key, values if isinstance(values, Mapping) else (), column)


def _key_faults(key: Mapping[str, Any], values: Iterable[str], newest: str | None) -> Iterable[str]:
    """A key that names no column, and columns that are named beside it."""
    if not key:
        yield "key names no column: give at least one"
    for column in values:
        if column in key:
            yield f"column {column} is in key and in values: leave it in key only"
    if newest in key:
        yield f"newest.column {newest} is in key: a key never changes, so no row could be newer"


@dataclass(frozen=True, slots=True)
class _Row:
    key: dict[str, Any]
    values: dict[str, Any]
    newest: str | None  # the column, one of `values`

    @property
    def columns(self) -> dict[str, Any]:
        return {**self.key, **self.values}


class DbUpsert(DatabaseAction[DbUpsertSettings]):
    """Inserts or updates one row by key, or one for each item of a list, in SQLite, PostgreSQL, MySQL or MariaDB.

    Safe to run twice: the second run finds its own row and writes the same.
    """

    name: ClassVar[str] = "db_upsert"
    Settings: ClassVar[type[Settings]] = DbUpsertSettings

    def rehearse(self, settings: DbUpsertSettings, context: Context) -> None:
        """Makes the rows."""
        _rows(settings)

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """The database answers; each table, its columns and its unique index are there."""
        from actions.database_probe import findings

        async for finding in findings(context.resource.engine, context.resource.url, context.uses):
            yield finding

    async def run(self, settings: DbUpsertSettings, context: Context) -> dict[str, Any]:
        """Writes all rows in one transaction. Output: rows, changed."""
        rows = _rows(settings)
        if not rows:
            return {"rows": 0, "changed": 0}
        database: Database = context.resource
        was_known = settings.table in database.tables
        try:
            return await _run_once(database, settings, rows, context)
        except Reject:
            if not was_known:
                raise
            return await _run_once(
                database, settings, rows, context
            )  # the table may have been altered since it was read


def _rows(settings: DbUpsertSettings) -> list[_Row]:
    if "for_each" not in settings.model_fields_set:
        return [_row(settings, {})]
    if settings.for_each is None:
        raise Reject(
            "for_each is null, not a list: the object lacks that field; fetch it, or give [] where it is absent"
        )
    if len(settings.for_each) > _MOST_ROWS:
        raise Reject(f"for_each has {len(settings.for_each)} items; at most {_MOST_ROWS} go into one transaction")
    return [_row(settings, {"item": item}) for item in settings.for_each]


def _row(settings: DbUpsertSettings, names: Mapping[str, Any]) -> _Row:
    key = settings.key.render(**names)
    values = (settings.values.render(**names) if settings.values is not None else None) or {}
    newest = settings.newest.render(**names) if settings.newest is not None else None
    for fault in _key_faults(key, values, newest.column if newest is not None else None):
        raise Reject(fault)
    for column, value in key.items():
        if value is None:
            raise Reject(f"key.{column} is null: it would match no row and insert a new one each time")
    if newest is None:
        return _Row(key, values, None)
    if newest.value is None:
        raise Reject(f"newest.value is null: column {newest.column} could not tell newer from older")
    return _Row(key, {**values, newest.column: newest.value}, newest.column)


async def _run_once(
    database: Database, settings: DbUpsertSettings, rows: list[_Row], context: Context
) -> dict[str, Any]:
    table = settings.table
    try:
        return await database.attempted(
            lambda: _write(database, settings, rows),
            context,
            passing=f"{table} could not be written now",
            refused=f"{table}: the database refused the row",
            values=(row.columns for row in rows),
        )
    except Exception:
        database.tables.pop(table, None)
        raise


async def _write(database: Database, settings: DbUpsertSettings, rows: list[_Row]) -> dict[str, Any]:
    from actions.upsert_statement import clash_queries, upsert

    known = await _checked(database, settings, rows)
    dialect, is_kept = database.engine.dialect.name, settings.on_conflict == "ignore"
    statements = [upsert(known, row.key, row.values, row.newest, is_kept=is_kept, dialect=dialect) for row in rows]
    changed = 0
    async with database.engine.begin() as connection:
        for row, statement in zip(rows, statements, strict=True):
            count = max(0, (await connection.execute(statement)).rowcount)
            changed += min(1, count)  # MySQL counts an update as two
            for clash, query, is_clash in clash_queries(known, row.key, row.values, dialect) if count == 0 else ():
                if bool(await connection.scalar(query)) is is_clash:
                    raise Reject(f"{settings.table}: {clash}")
    return {"rows": len(rows), "changed": changed}


async def _checked(database: Database, settings: DbUpsertSettings, rows: list[_Row]) -> KnownTable:
    """The table, which takes these rows by their keys. Raises Reject that says what would mend it."""
    from actions.database_table import complaint, make_table, read_table

    name, columns = settings.table, [row.columns for row in rows]
    known: KnownTable | None = database.tables.get(name)
    if known is None:
        async with database.engine.connect() as connection:
            known = await read_table(connection, name)
        if known is None and settings.ensure_table:
            await make_table(database.engine, name, columns, rows[0].key)
            async with database.engine.connect() as connection:
                known = await read_table(connection, name)
        if known is None:
            raise Reject(f"there is no table {name}; create it, or say ensure_table: true")
    lacks = complaint(database.engine, name, columns, {frozenset(row.key) for row in rows}, known)
    if lacks is not None:
        raise Reject(lacks)
    database.tables[name] = known
    return known
