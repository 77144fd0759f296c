"""Alembic's entry: runs the steps on the database that `upgrade_*` names."""

import asyncio

from alembic import context
from sqlalchemy import Connection, create_engine, pool
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.store.migrations.runner import OLDEST

MIGRATION_LOCK = 1734440825, 65  # beside the locks of 0001.sql
LOCK_SECONDS = 1  # how long gateways at work wait behind a step that waits for one of them

attributes = context.config.attributes


def run(connection: Connection) -> None:
    """All steps in one transaction."""
    postgresql = connection.dialect.name == "postgresql"
    context.configure(connection=connection, version_table_schema=attributes["schema"] if postgresql else None)
    with context.begin_transaction():
        if postgresql:  # gateways that start together wait here for the first, and then find nothing left to do
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock{MIGRATION_LOCK}")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            # IF NOT EXISTS would ask for the right to create, also where an admin has made the schema
            if connection.exec_driver_sql("SELECT to_regnamespace($1)::oid", (attributes["schema"],)).scalar() is None:
                connection.exec_driver_sql(f'CREATE SCHEMA "{attributes["schema"]}"')
        context.run_migrations()
        if postgresql:
            connection.exec_driver_sql(
                "INSERT INTO facts VALUES ('oldest_program', $1)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (OLDEST,),
            )


async def run_postgresql() -> None:
    """Over the driver that the gateway has anyway."""
    engine = create_async_engine("postgresql+asyncpg://", async_creator=attributes["connect"], poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


if "connect" in attributes:
    asyncio.run(run_postgresql())
else:
    engine = create_engine(attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        run(connection)
    engine.dispose()
