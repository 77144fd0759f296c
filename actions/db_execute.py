"""Runs one SQL statement with bound values. A second run is what the statement makes of it: see the docs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import Field

from actions.database_action import Database, DatabaseAction
from actions.sql_statement import Statement, read_statement
from gateway.plugin import (
    Connection,
    Constant,
    Context,
    DatabaseConnection,
    Finding,
    ProbeContext,
    Reject,
    Settings,
    Unrendered,
    Verdict,
)

_BIND = 'bind the value instead: :name here, and name: "{{ ... }}" under params'


class DbExecuteSettings(Settings):
    """`with` of db_execute."""

    connection: Annotated[str, Connection(DatabaseConnection)] = Field(
        description="A connection of type database.", examples=["shop"]
    )
    statement: Annotated[str, Constant(_BIND)] = Field(
        min_length=1,
        description="One SQL statement, taken as it is written: values stand in it as :name, never as templates.",
        examples=["UPDATE stock SET held = held - :quantity WHERE sku = :sku"],
    )
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="The values of the names in statement. Lists and mappings are bound as JSON text.",
        examples=[{"sku": "{{ object.metadata.sku }}", "quantity": "{{ object.quantity }}"}],
    )
    expect_rows: int | None = Field(
        None,
        ge=0,
        description="How many rows it must affect: with another count it is rolled back, and a dead letter.",
        examples=[1],
    )

    @classmethod
    def check(cls, written: Mapping[str, Any]) -> Iterable[str]:
        """That it is one statement, and that its names and params are the same."""
        text, params = written.get("statement"), written.get("params")
        if not isinstance(text, str):
            return
        statement = read_statement(text)
        for fault in statement.faults:
            yield f"statement {fault}"
        if params is None or isinstance(params, Mapping):  # else a template brings them
            yield from _mismatches(statement, params or {})


def _mismatches(statement: Statement, params: Mapping[str, Any]) -> Iterable[str]:
    for name in statement.names:
        if name not in params:
            yield f"statement binds :{name}, and params has no {name}"
    for name in params:
        if name not in statement.names:
            yield f"params has {name}, and statement has no :{name}"


class DbExecute(DatabaseAction[DbExecuteSettings]):
    """Runs one SQL statement with bound values, in SQLite, PostgreSQL, MySQL or MariaDB.

    It may run twice: write a statement whose second run changes nothing, such as INSERT ... ON CONFLICT DO NOTHING, or
    one that keeps `delivery.id` in a unique column.
    """

    name: ClassVar[str] = "db_execute"
    Settings: ClassVar[type[Settings]] = DbExecuteSettings

    def rehearse(self, settings: DbExecuteSettings, context: Context) -> None:
        """Holds the params against the statement."""
        _statement(settings)

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """The database answers, and takes each statement: it is compiled there, and not run."""
        from gateway.plugin.database import answering, missing_file

        database: Database = context.resource
        if (file := missing_file(database.engine)) is not None:
            if context.uses:
                yield Finding.note(f"there is no file {file.name} yet: no statement was looked at")
            else:
                yield Finding.good(f"there is no file {file.name} yet; the first row makes it")
            return
        answer = await answering(database.engine, database.url)
        yield answer
        if answer.verdict is Verdict.BAD:
            return
        for use in context.uses:
            written = use.settings.get("statement")
            if isinstance(written, str) and not isinstance(written, Unrendered):
                yield await _compiled(database, read_statement(written), use.place)

    async def run(self, settings: DbExecuteSettings, context: Context) -> dict[str, Any]:
        """Runs it in one transaction. Output: rows, how many it affected."""
        statement = _statement(settings)
        database: Database = context.resource
        from sqlalchemy import text

        dialect = database.engine.dialect.name
        values = {name: _bound(settings.params[name], dialect) for name in statement.names}
        with database.errors_told("the statement could not be run now", "the database refused the statement"):
            async with database.engine.begin() as connection:
                rows = max(0, (await connection.execute(text(statement.text), values)).rowcount)
                if settings.expect_rows is not None and rows != settings.expect_rows:
                    raise Reject(
                        f"the statement affected {_count(rows)}, not {settings.expect_rows}; it was rolled back"
                    )
        return {"rows": rows}


def _statement(settings: DbExecuteSettings) -> Statement:
    """The statement, with its params. Raises Reject."""
    statement = read_statement(settings.statement)
    for fault in (*(f"statement {fault}" for fault in statement.faults), *_mismatches(statement, settings.params)):
        raise Reject(fault)
    return statement


def _count(rows: int) -> str:
    return f"{rows} row" if rows == 1 else f"{rows} rows"


def _bound(value: Any, dialect: str) -> Any:
    """A value as every driver takes it. Moments are UTC, as db_upsert writes them."""
    if isinstance(value, (list, dict)):
        return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, datetime):
        utc = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        return utc if dialect == "postgresql" else utc.replace(tzinfo=None)
    if dialect != "sqlite" and isinstance(value, float) and math.isfinite(value):
        return Decimal(repr(value))  # of 19.99 asyncpg makes 19.98999... for a numeric column
    if dialect == "sqlite" and isinstance(value, (Decimal, date, time)):  # it has no such types
        return str(value)
    return value


async def _compiled(database: Database, statement: Statement, place: str) -> Finding:
    """Whether the database takes a statement: its tables and columns are there, and the user may use them."""
    from sqlalchemy import text

    from gateway.plugin.database import told

    engine = database.engine
    compiled = text(statement.text).compile(dialect=engine.dialect)
    sql = str(compiled)
    try:
        async with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                await connection.exec_driver_sql(f"EXPLAIN {sql}", tuple(None for _ in compiled.positiontup or ()))
            elif engine.dialect.name == "postgresql":
                raw = await connection.get_raw_connection()
                assert raw.driver_connection is not None
                await raw.driver_connection.prepare(sql)
            else:
                marked = re.sub("%([%s])", lambda match: "?" if match[1] == "s" else "%", sql)
                await connection.exec_driver_sql("PREPARE looked_at FROM %s", (marked,))
                await connection.exec_driver_sql("DEALLOCATE PREPARE looked_at")
    except Exception as error:  # a driver may raise anything; all of it means that the statement cannot be run
        said = told(error, database.url)
        return Finding.bad(f"the statement is refused: {said}", "mend the statement, or the table", use=place)
    return Finding.good("the statement is taken", use=place)
