"""Reads rows by one SQL query with bound values, for later actions. A second run reads again and changes nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from actions.database_action import Database
from actions.database_statement import StatementAction, StatementSettings, bound, rows_in_words
from actions.row_values import plain, small_enough
from gateway.plugin import Context, Reject, Settings

MOST_ROWS = 1000


class DbQuerySettings(StatementSettings):
    """`with` of db_query."""

    reading: ClassVar[bool] = True

    expect_rows: int | None = Field(
        None, ge=0, description="How many rows it must find: another count is a dead letter.", examples=[1]
    )


class DbQuery(StatementAction[DbQuerySettings]):
    """Reads rows by one SQL query with bound values, in SQLite, PostgreSQL, MySQL or MariaDB, for the actions that need
    it: `steps.NAME.output.rows`.

    It changes nothing: it runs in a transaction that may only read.
    """

    name: ClassVar[str] = "db_query"
    Settings: ClassVar[type[Settings]] = DbQuerySettings
    engine_options: ClassVar[dict[str, bool]] = {"is_read_only": True}

    async def run(self, settings: DbQuerySettings, context: Context) -> dict[str, Any]:
        """Reads at most 1,000 rows. Output: rows, each an object by column, and count."""
        from sqlalchemy import text

        statement = settings.parsed()
        database: Database = context.resource
        dialect = database.engine.dialect.name
        values = bound(settings, statement, dialect)

        exchange = context.sends(statement.text, body=dict(settings.params))

        async def query() -> list[dict[str, Any]]:
            async with database.engine.connect() as connection:
                if dialect != "sqlite":  # there the engine is for reading only
                    await connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                async with connection.stream(text(statement.text), values) as result:
                    columns = list(result.keys())
                    rows = await result.fetchmany(MOST_ROWS + 1)
                    exchange.answered(f"{rows_in_words(len(rows))} found")
                    if (fault := _fault(columns, len(rows))) is not None:
                        await connection.invalidate()  # else the rest would be read to end it
                        raise Reject(fault)
            return [dict(zip(columns, map(plain, row), strict=True)) for row in rows]

        rows = await database.attempted(
            query,
            context,
            passing="the query could not be run now",
            refused="the database refused the query",
            values=settings.params.values(),
            is_reading=True,
        )
        if settings.expect_rows is not None and len(rows) != settings.expect_rows:
            raise Reject(f"the query found {rows_in_words(len(rows))}, not {settings.expect_rows}")
        return small_enough({"rows": rows, "count": len(rows)})


def _fault(columns: list[str], count: int) -> str | None:
    """Why later actions could not have the rows."""
    if count > MOST_ROWS:
        return f"the query finds more than {MOST_ROWS:,} rows: add a LIMIT, or narrow it"
    twice = next((column for column in columns if columns.count(column) > 1), None)
    return f"the query gives two columns called {twice}: call one otherwise, by AS" if twice is not None else None
