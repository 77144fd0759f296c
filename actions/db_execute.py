"""Runs one SQL statement with bound values. A second run is what the statement makes of it: see the docs."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from actions.database_action import Database
from actions.database_statement import StatementAction, StatementSettings, bound, rows_in_words
from gateway.plugin import Context, Reject, Settings


class DbExecuteSettings(StatementSettings):
    """`with` of db_execute."""

    expect_rows: int | None = Field(
        None,
        ge=0,
        description="How many rows it must affect: with another count it is rolled back, and a dead letter.",
        examples=[1],
    )


class DbExecute(StatementAction[DbExecuteSettings]):
    """Runs one SQL statement with bound values, in SQLite, PostgreSQL, MySQL or MariaDB.

    It may run twice: write a statement whose second run changes nothing, such as INSERT ... ON CONFLICT DO NOTHING, or
    one that keeps `delivery.id` in a unique column.
    """

    name: ClassVar[str] = "db_execute"
    Settings: ClassVar[type[Settings]] = DbExecuteSettings
    engine_options: ClassVar[dict[str, bool]] = {"counts_found": True}

    async def run(self, settings: DbExecuteSettings, context: Context) -> dict[str, Any]:
        """Runs it in one transaction. Output: rows, how many it affected."""
        from sqlalchemy import text

        statement = settings.parsed()
        database: Database = context.resource
        values = bound(settings, statement, database.engine.dialect.name)

        exchange = context.sends(statement.text, body=dict(settings.params))

        async def execute() -> int:
            async with database.engine.begin() as connection:
                rows = max(0, (await connection.execute(text(statement.text), values)).rowcount)
                exchange.answered(f"{rows_in_words(rows)} affected")
                if settings.expect_rows is not None and rows != settings.expect_rows:
                    raise Reject(
                        f"the statement affected {rows_in_words(rows)}, not {settings.expect_rows}; it was rolled back"
                    )
            return rows

        return {
            "rows": await database.attempted(
                execute,
                context,
                passing="the statement could not be run now",
                refused="the database refused the statement",
                values=settings.params.values(),
            )
        }
