"""Inserts or updates rows by key. Safe to run twice: the same key and values make the same row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from actions.database_action import Database, DatabaseAction
from actions.database_row import Row, row_faults
from actions.database_statement import rows_in_words
from actions.row_values import plain, small_enough
from gateway.plugin import (
    Comparison,
    Connection,
    Context,
    DatabaseConnection,
    Deferred,
    Finding,
    Offers,
    ProbeContext,
    Reject,
    RowDifference,
    Settings,
)

if TYPE_CHECKING:  # SQLAlchemy takes long to import: `gateway check` does without
    from actions.database_table import KnownTable

_MOST_ROWS = 10_000
_MOST_NOTED = 20  # rows of an attempt that its page shows
_ITEM = Offers("item", where="for_each")
_NO_LIST = "for_each is null, not a list: the object lacks that field; fetch it, or give [] where it is absent"


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
    insert_only: Annotated[Deferred[dict[str, Any]] | None, _ITEM] = Field(
        None,
        description="Columns that a new row gets, and that are left alone where the row is there.",
        examples=[{"state": "new"}],
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
    returning: list[str] = Field(
        default_factory=list,
        description="Columns of the row as it is after the write, for later actions: steps.NAME.output.returned.",
        examples=[["id", "number"]],
    )
    ensure_table: bool = Field(False, description="Creates the table if there is none.", examples=[True])

    @classmethod
    def check(cls, written: Mapping[str, Any]) -> Iterable[str]:
        """A key that names no column, columns named twice, and null where a row needs a value."""
        key, newest = written.get("key"), written.get("newest")
        if "for_each" in written and written["for_each"] is None:
            yield _NO_LIST
        if isinstance(newest, Mapping) and newest.get("value", "") is None:
            yield _no_age(newest.get("column"))
        if isinstance(key, Mapping):
            column = newest.get("column") if isinstance(newest, Mapping) else None
            values, insert_only = (
                part if isinstance(part := written.get(name), Mapping) else () for name in ("values", "insert_only")
            )
            yield from row_faults(key, values, insert_only, column)
            yield from map(_no_key, (name for name, value in key.items() if value is None))


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
        """Writes all rows in one transaction. Output: rows, changed, and what `returning` names."""
        rows = _rows(settings)
        if not rows:
            return {"rows": 0, "changed": 0} | ({"returned": []} if settings.returning else {})
        database: Database = context.resource
        was_known = settings.table in database.tables
        try:
            return await _run_once(database, settings, rows, context)
        except Reject:
            if not was_known:
                raise
            # the table may have been altered since it was read
            return await _run_once(database, settings, rows, context)

    async def compare(self, settings: DbUpsertSettings, context: Context) -> Comparison:
        """Reads each row by its key, and compares key and values. What only a new row gets is not compared, nor what
        says how new a row is, nor, with `on_conflict: ignore`, any column.
        """
        rows = _rows(settings)
        database: Database = context.resource
        return await database.attempted(
            lambda: _compared(database, settings, rows),
            context,
            passing=f"{settings.table} could not be read now",
            refused=f"{settings.table}: the database refused to read the row",
            values=[row.columns for row in rows],
            is_reading=True,
        )


def _no_key(column: object) -> str:
    return f"key.{column} is null: it would match no row and insert a new one each time"


def _no_age(column: object) -> str:
    return f"newest.value is null: column {column} could not tell newer from older"


def _rows(settings: DbUpsertSettings) -> list[Row]:
    if "for_each" not in settings.model_fields_set:
        return [_row(settings, {})]
    if settings.for_each is None:
        raise Reject(_NO_LIST)
    if len(settings.for_each) > _MOST_ROWS:
        raise Reject(f"for_each has {len(settings.for_each)} items; at most {_MOST_ROWS} go into one transaction")
    return [_row(settings, {"item": item}) for item in settings.for_each]


def _row(settings: DbUpsertSettings, names: Mapping[str, Any]) -> Row:
    key = settings.key.render(**names)
    values = (settings.values.render(**names) if settings.values is not None else None) or {}
    insert_only = (settings.insert_only.render(**names) if settings.insert_only is not None else None) or {}
    newest = settings.newest.render(**names) if settings.newest is not None else None
    for fault in row_faults(key, values, insert_only, newest.column if newest is not None else None):
        raise Reject(fault)
    for column, value in key.items():
        if value is None:
            raise Reject(_no_key(column))
    if newest is None:
        return Row(key, values, insert_only)
    if newest.value is None:
        raise Reject(_no_age(newest.column))
    return Row(key, {**values, newest.column: newest.value}, insert_only, newest.column)


async def _run_once(
    database: Database, settings: DbUpsertSettings, rows: list[Row], context: Context
) -> dict[str, Any]:
    table = settings.table
    exchange = context.sends(
        f"{rows_in_words(len(rows))} into {table}", body=[row.columns for row in rows[:_MOST_NOTED]]
    )
    try:
        output = await database.attempted(
            lambda: _write(database, settings, rows),
            context,
            passing=f"{table} could not be written now",
            refused=f"{table}: the database refused the row",
            values=[row.columns for row in rows],
        )
        exchange.answered(f"{rows_in_words(output['rows'])} written, {output['changed']} changed")
        return output
    except Exception:
        database.tables.pop(table, None)
        raise


async def _write(database: Database, settings: DbUpsertSettings, rows: list[Row]) -> dict[str, Any]:
    from actions.upsert_statement import clash_queries, read_back, upsert, write_through_view

    known, rows = await _checked(database, settings, rows)
    dialect, is_kept = database.engine.dialect.name, settings.on_conflict == "ignore"
    # before the transaction: what does not fit is told without it
    statements = [upsert(known, row, is_kept=is_kept, dialect=dialect) for row in rows]
    changed, returned = 0, []
    async with database.engine.begin() as connection:
        for row, statement in zip(rows, statements, strict=True):
            if known.view is not None:
                changed += await write_through_view(connection, known, row, is_kept=is_kept, dialect=dialect)
            else:
                count = max(0, (await connection.execute(statement)).rowcount)
                changed += min(1, count)  # MySQL counts an update as two
                for clash, query, is_clash in clash_queries(known, row, dialect) if count == 0 else ():
                    if bool(await connection.scalar(query)) is is_clash:
                        raise Reject(f"{settings.table}: {clash}")
            if settings.returning:
                query = read_back(known, row, settings.returning, dialect)
                found = (await connection.execute(query)).mappings().first()
                returned.append(plain(found) if found is not None else None)
        output: dict[str, Any] = {"rows": len(rows), "changed": changed}
        if settings.returning:
            output["returned"] = returned if "for_each" in settings.model_fields_set else returned[0]
        return small_enough(output)


async def _compared(database: Database, settings: DbUpsertSettings, rows: list[Row]) -> Comparison:
    from actions.database_table import complaint, read_table
    from actions.row_comparison import differing
    from actions.upsert_statement import raw_columns
    from gateway.plugin.database import missing_file

    name, dialect = settings.table, database.engine.dialect.name
    if (file := missing_file(database.engine)) is not None:
        raise Reject(f"there is no file {file.name}")
    differences: list[RowDifference] = []
    async with database.engine.connect() as connection:
        known: KnownTable | None = database.tables.get(name) or await read_table(connection, name)
        if known is None:
            raise Reject(f"there is no table {name}")
        rows = [row.spelled(known.name_of) for row in rows]
        keys = {frozenset(row.key) for row in rows}
        if (lacks := complaint(database.engine, name, [row.columns for row in rows], keys, known)) is not None:
            raise Reject(lacks)
        database.tables[name] = known
        for row in rows:
            is_kept = settings.on_conflict == "ignore"
            values = {column: row.values[column] for column in row.values if column != row.newest and not is_kept}
            there = (await connection.execute(raw_columns(known, row, values, dialect))).mappings().first()
            if there is None:
                differences.append(RowDifference(name, plain(row.key), plain(row.columns), None))
            elif columns := differing(known, values, dict(there), dialect):
                wanted, actual = ({column: of[column] for column in columns} for of in (values, there))
                differences.append(RowDifference(name, plain(row.key), plain(wanted), plain(actual)))
    return Comparison(len(rows), differences)


async def _checked(database: Database, settings: DbUpsertSettings, rows: list[Row]) -> tuple[KnownTable, list[Row]]:
    """The table, and the rows with their columns as it spells them, which it takes by their keys. Raises Reject that
    says what would mend it.
    """
    from actions.database_table import complaint, make_table, near_table, read_table

    name = settings.table
    known: KnownTable | None = database.tables.get(name)
    if known is None:
        async with database.engine.connect() as connection:
            known = await read_table(connection, name)
            near = await near_table(connection, name) if known is None and not settings.ensure_table else ""
        if known is None and settings.ensure_table:
            await make_table(database.engine, name, [row.columns for row in rows], rows[0].key)
            async with database.engine.connect() as connection:
                known = await read_table(connection, name)
        if known is None:
            raise Reject(f"there is no table {name}{near}; create it, or say ensure_table: true")
    rows = [row.spelled(known.name_of) for row in rows]
    written = [row.columns for row in rows]
    lacks = complaint(database.engine, name, written, {frozenset(row.key) for row in rows}, known)
    missing = next((column for column in settings.returning if known.name_of(column) not in known.types), None)
    if lacks is None and missing is not None:
        lacks = f"table {name} has no column {missing}, which returning names"
    if lacks is not None:
        raise Reject(lacks)
    database.tables[name] = known
    return known, rows
