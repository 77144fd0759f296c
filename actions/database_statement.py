"""What db_execute and db_query share: one statement as it is written, its values, and whether the database takes it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, ClassVar, TypeVar

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
_EXPLAINED = frozenset(("select", "insert", "update", "delete", "merge", "with", "values"))  # by PostgreSQL's PREPARE


class StatementSettings(Settings):
    """What `with` of both has."""

    reading: ClassVar[bool] = False  # whether the statement may only read

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

    @classmethod
    def check(cls, written: Mapping[str, Any]) -> Iterable[str]:
        """That it is one statement, and that its names and params are the same."""
        text, params = written.get("statement"), written.get("params")
        if not isinstance(text, str):
            return
        statement = read_statement(text, is_reading=cls.reading)
        for fault in statement.faults:
            yield f"statement {fault}"
        if params is None or isinstance(params, Mapping):  # else a template brings them
            yield from _mismatches(statement, params or {})

    def parsed(self) -> Statement:
        """The statement, with its params. Raises Reject."""
        statement = read_statement(self.statement, is_reading=self.reading)
        for fault in (*(f"statement {fault}" for fault in statement.faults), *_mismatches(statement, self.params)):
            raise Reject(fault)
        return statement


def _mismatches(statement: Statement, params: Mapping[str, Any]) -> Iterable[str]:
    for name in statement.names:
        if name not in params:
            yield f"statement binds :{name}, and params has no {name}"
    for name in params:
        if name not in statement.names:
            yield f"params has {name}, and statement has no :{name}"


S = TypeVar("S", bound=StatementSettings)


class StatementAction(DatabaseAction[S]):
    """An action that runs one statement."""

    def rehearse(self, settings: S, context: Context) -> None:
        """Holds the params against the statement."""
        settings.parsed()

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


def bound(settings: StatementSettings, statement: Statement, dialect: str) -> dict[str, Any]:
    """The values of the statement's names, as every driver takes them. Moments are UTC, as db_upsert writes them."""
    return {name: _bound(settings.params[name], dialect) for name in statement.names}


def rows_in_words(count: int) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} row" if count == 1 else f"{count} rows"


def _bound(value: Any, dialect: str) -> Any:
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
                await _prepared(await connection.get_raw_connection(), sql, len(statement.names))
            else:
                marked = re.sub("%([%s])", lambda match: "?" if match[1] == "s" else "%", sql)
                await connection.exec_driver_sql("PREPARE looked_at FROM %s", (marked,))
                await connection.exec_driver_sql("DEALLOCATE PREPARE looked_at")
    except Exception as error:  # a driver may raise anything; all of it means that the statement cannot be run
        said = told(error, database.url)
        return Finding.bad(
            f"the statement is refused: {said}", "mend the statement, the table, or the rights", use=place
        )
    return Finding.good("the statement is taken", use=place)


async def _prepared(raw: Any, sql: str, names: int) -> None:
    """PostgreSQL asks for the rights of a statement only where it is to be run, so it explains this one."""
    first = re.match(r"\W*(\w+)", sql)
    async with raw.driver_connection.transaction():  # a pooler lends its session for so long
        if first is None or first[1].lower() not in _EXPLAINED:
            await raw.driver_connection.prepare(sql, name="")
            return
        await raw.driver_connection.execute(f"PREPARE looked_at AS {sql}")
        nulls = ", ".join(["NULL"] * names)
        await raw.driver_connection.execute(f"EXPLAIN EXECUTE looked_at{f'({nulls})' if names else ''}")
        await raw.driver_connection.execute("DEALLOCATE looked_at")
