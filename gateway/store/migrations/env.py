"""Alembic's entry: makes or upgrades the schema of the database that `upgrade_*` names."""

import asyncio

from alembic import context
from sqlalchemy import Connection, create_engine, pool
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.store.migrations.runner import HEAD, OLDEST, schema_script

MIGRATION_LOCK = 1734440825, 65  # beside the locks of postgres/functions.sql
LOCK_SECONDS = 1  # how long gateways at work wait behind a step that waits for one of them

attributes = context.config.attributes


def run_sqlite(connection: Connection) -> None:
    """All steps in one transaction."""
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


def run_postgresql(connection: Connection) -> None:
    """Everything in one transaction."""
    schema = attributes["schema"]
    context.configure(connection=connection, version_table_schema=schema)
    with context.begin_transaction():
        # Gateways that start together wait here for the first, and then find nothing left to do.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock{MIGRATION_LOCK}")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        # IF NOT EXISTS would ask for the right to create, also where an admin has made the schema
        if connection.exec_driver_sql("SELECT to_regnamespace($1)::oid", (schema,)).scalar() is None:
            connection.exec_driver_sql(f'CREATE SCHEMA "{schema}"')
        is_new = connection.exec_driver_sql("SELECT to_regclass($1)::oid", (f"{schema}.facts",)).scalar() is None
        if is_new:
            _run_script(connection, "postgres/schema.sql")
            connection.exec_driver_sql("INSERT INTO alembic_version VALUES ($1)", (HEAD,))
        context.run_migrations()
        _run_script(connection, "postgres/functions.sql")
        connection.exec_driver_sql(
            "INSERT INTO facts VALUES ('oldest_program', $1)"
            " ON CONFLICT (name) DO UPDATE SET value = greatest(facts.value, excluded.value)",
            (HEAD if is_new else OLDEST,),  # a new one is compressed from the start, which no older program reads
        )


def _run_script(connection: Connection, name: str) -> None:
    """Runs a script of several statements, which only the driver itself takes."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda session: session.execute(schema_script(name)))


async def connect_and_run() -> None:
    """Over the driver that the gateway has anyway."""
    engine = create_async_engine("postgresql+asyncpg://", async_creator=attributes["connect"], poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run_postgresql)
    await engine.dispose()


if "connect" in attributes:
    asyncio.run(connect_and_run())
else:
    engine = create_engine(attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        run_sqlite(connection)
    engine.dispose()
