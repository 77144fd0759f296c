"""Inserts or updates rows by key. Safe to run twice: the same key and values make the same row."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field

from gateway.plugin import Action, Connection, Context, DatabaseConnection, Deferred, Reject, Retry, Settings

if TYPE_CHECKING:  # SQLAlchemy takes long to import: `gateway check` does without
    from sqlalchemy import Column, Table
    from sqlalchemy import Connection as SyncConnection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_MOST_ROWS = 10_000


class Newest(BaseModel):
    """Which column tells how new a row is."""

    model_config = ConfigDict(extra="forbid")

    column: str
    value: Any


class DbUpsertSettings(Settings):
    """`with` of db_upsert."""

    connection: Annotated[str, Connection(DatabaseConnection)] = Field(description="A connection of type database.")
    table: str = Field(min_length=1, description="The table, or schema.table.")
    key: Deferred[dict[str, Any]] = Field(description="Columns that identify the row; they need a unique index.")
    values: Deferred[dict[str, Any]] | None = Field(None, description="The other columns.")
    newest: Deferred[Newest] | None = Field(None, description="column and value: an older row never overwrites.")
    on_conflict: str = Field(
        "update", pattern="^(update|ignore)$", description="update, or ignore: keep what is there."
    )
    for_each: list[Any] | None = Field(None, description="One row for each element, called item; all or none.")
    ensure_table: bool = Field(False, description="Creates the table if there is none.")


class _Database:
    """An engine, and the tables it was asked for."""

    def __init__(self, engine: AsyncEngine, dialect: str) -> None:
        self.engine = engine
        self.dialect = dialect
        self.tables: dict[str, Table] = {}
        self.writing = asyncio.Lock()  # SQLite has one writer; waiting here beats its busy timeout


class DbUpsert(Action[DbUpsertSettings]):
    """Inserts or updates one row by key, or one for each item; in SQLite, PostgreSQL, MySQL or MariaDB."""

    name: ClassVar[str] = "db_upsert"
    Settings: ClassVar[type[Settings]] = DbUpsertSettings

    async def open(self, connection: DatabaseConnection, base_folder: str) -> _Database:
        """An engine; it connects at the first run."""
        url = connection.url.get_secret_value()
        scheme = url.partition("://")[0]
        if scheme == "sqlite":
            return _Database(_sqlite(url, base_folder), "sqlite")
        if scheme in ("postgresql", "postgres"):
            return _Database(_postgresql(url, connection.concurrency), "postgresql")
        return _Database(_mysql(url, connection.concurrency), "mysql")

    async def close(self, resource: _Database) -> None:
        """Closes the engine's connections."""
        await resource.engine.dispose()

    async def run(self, settings: DbUpsertSettings, context: Context) -> Mapping[str, Any]:
        """Writes all rows in one transaction. Output: rows, changed."""
        from sqlalchemy import exc

        rows = _rows(settings)
        database: _Database = context.resource
        try:
            if database.dialect == "sqlite":
                async with database.writing:
                    return await _write(database, settings, rows)
            return await _write(database, settings, rows)
        except (exc.IntegrityError, exc.DataError) as error:
            raise Reject(f"{settings.table}: {_said(error)}") from None
        except exc.DBAPIError as error:
            database.tables.pop(settings.table, None)  # it may have been altered: look again
            said = _said(error)
            if any(word in said.lower() for word in ("syntax error", "permission denied", "readonly", "read-only")):
                raise Reject(f"{settings.table}: {said}") from None
            raise Retry(f"{settings.table}: {said}") from None
        except (exc.SQLAlchemyError, OSError) as error:
            raise Retry(f"the database does not answer: {type(error).__name__}: {_said(error)}") from None


def _said(error: BaseException) -> str:
    """What the database said, without the statement and its values."""
    origin = getattr(error, "orig", None) or error
    return " ".join(str(origin).split())[:300]


def _rows(settings: DbUpsertSettings) -> list[tuple[dict[str, Any], dict[str, Any], str | None]]:
    """(key, values, newest column) of each row, rendered. Raises Reject."""
    if settings.for_each is not None and len(settings.for_each) > _MOST_ROWS:
        raise Reject(f"for_each has {len(settings.for_each)} items; at most {_MOST_ROWS} go into one transaction")
    names: list[dict[str, Any]] = [{}] if settings.for_each is None else [{"item": item} for item in settings.for_each]
    rows = []
    for scope in names:
        key = settings.key.render(**scope)
        values = settings.values.render(**scope) if settings.values is not None else {}
        newest = settings.newest.render(**scope) if settings.newest is not None else None
        if not key:
            raise Reject("key names no column")
        null = [column for column, value in key.items() if value is None]
        if null:
            raise Reject(f"key.{null[0]} is null: it would match no row and insert a new one each time")
        if newest is not None:
            values = {**values, newest.column: newest.value}
        rows.append((key, {c: v for c, v in values.items() if c not in key}, newest.column if newest else None))
    return rows


# -- engines --------------------------------------------------------------------------------------------------


def _sqlite(url: str, base_folder: str) -> AsyncEngine:
    from sqlalchemy import event
    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import create_async_engine

    path = Path(base_folder) / url.partition("://")[2].partition("?")[0].removeprefix("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(path)), connect_args={"timeout": 10})

    @event.listens_for(engine.sync_engine, "connect")
    def no_implicit_begin(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine.sync_engine, "begin")
    def begin_immediate(connection: SyncConnection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # a deferred one can lose updates

    return engine


def _postgresql(url: str, concurrency: int) -> AsyncEngine:
    import asyncpg
    from sqlalchemy.ext.asyncio import create_async_engine

    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "connect_timeout"]
    dsn = urlunsplit(parts._replace(scheme="postgresql", query=urlencode(query)))

    async def connect() -> Any:
        return await asyncpg.connect(dsn, timeout=15)

    # The DSN goes to asyncpg as it is: SQLAlchemy's dialect refuses sslmode, options and others.
    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, pool_size=concurrency, max_overflow=0, pool_pre_ping=True
    )


def _mysql(url: str, concurrency: int) -> AsyncEngine:
    from sqlalchemy.engine import make_url
    from sqlalchemy.ext.asyncio import create_async_engine

    target = make_url(url).set(drivername="mysql+asyncmy")
    return create_async_engine(
        target, pool_size=concurrency, max_overflow=0, pool_pre_ping=True, connect_args={"connect_timeout": 15}
    )


# -- writing --------------------------------------------------------------------------------------------------


async def _write(
    database: _Database, settings: DbUpsertSettings, rows: list[tuple[dict[str, Any], dict[str, Any], str | None]]
) -> Mapping[str, Any]:
    if not rows:
        return {"rows": 0, "changed": 0}
    changed = 0
    async with database.engine.begin() as connection:
        table = await _table(database, connection, settings, rows[0])
        for key, values, newest in rows:
            bound = {name: _bound(table, name, value) for name, value in {**key, **values}.items()}
            statement = _statement(database.dialect, table, list(key), list(values), newest, settings.on_conflict)
            result = await connection.execute(statement, bound)
            changed += min(1, max(0, result.rowcount))  # MySQL counts an update as two
    return {"rows": len(rows), "changed": changed}


async def _table(
    database: _Database,
    connection: AsyncConnection,
    settings: DbUpsertSettings,
    row: tuple[dict[str, Any], dict[str, Any], str | None],
) -> Table:
    """The table as it is in the database, checked. Raises Reject that says what would mend it."""
    from sqlalchemy import MetaData, Table
    from sqlalchemy.exc import NoSuchTableError

    key, values, _ = row
    table = database.tables.get(settings.table)
    if table is None or not {*key, *values} <= set(table.columns.keys()):
        schema, _, name = settings.table.rpartition(".")
        if settings.ensure_table:
            wanted = _new_table(database.dialect, name, schema or None, key, values)
            await connection.run_sync(wanted.metadata.create_all)
        try:
            table = await connection.run_sync(
                lambda sync: Table(name, MetaData(), schema=schema or None, autoload_with=sync)
            )
        except NoSuchTableError:
            raise Reject(f"there is no table {settings.table}; create it, or say ensure_table: true") from None
        for column in (*key, *values):
            if column not in table.columns:
                raise Reject(
                    f"table {settings.table} has no column {column}; "
                    f"ALTER TABLE {settings.table} ADD COLUMN {column} ..., or take it out"
                )
        if not await connection.run_sync(lambda sync: _is_unique(sync, table, set(key))):
            columns = ", ".join(key)
            raise Reject(
                f"table {settings.table} has no unique index on exactly ({columns}); "
                f"CREATE UNIQUE INDEX ON {settings.table} ({columns})"
            )
        database.tables[settings.table] = table
    return table


def _is_unique(connection: SyncConnection, table: Table, key: set[str]) -> bool:
    from sqlalchemy import inspect

    inspector = inspect(connection)
    name, schema = table.name, table.schema
    found: list[Any] = [inspector.get_pk_constraint(name, schema)["constrained_columns"]]
    found += [index["column_names"] for index in inspector.get_indexes(name, schema) if index["unique"]]
    found += [constraint["column_names"] for constraint in inspector.get_unique_constraints(name, schema)]
    return any(set(columns) == key for columns in found if columns)


def _new_table(dialect: str, name: str, schema: str | None, key: Mapping[str, Any], values: Mapping[str, Any]) -> Table:
    from sqlalchemy import JSON, BigInteger, Boolean, Column, DateTime, Double, MetaData, String, Table, Text

    def kind(value: Any, in_key: bool) -> Any:
        if isinstance(value, bool):
            return Boolean()
        if isinstance(value, int):
            return BigInteger()
        if isinstance(value, float):
            return Double()
        if isinstance(value, datetime):
            return DateTime(timezone=True)
        if isinstance(value, (list, dict)):
            return JSON()
        return String(255) if in_key and dialect == "mysql" else Text()

    columns = [
        Column(column, kind(value, True), primary_key=True, autoincrement=False) for column, value in key.items()
    ]
    columns += [Column(column, kind(value, False)) for column, value in values.items()]
    return Table(name, MetaData(), *columns, schema=schema)


def _statement(
    dialect: str, table: Table, key: list[str], values: list[str], newest: str | None, on_conflict: str
) -> Any:
    from sqlalchemy import bindparam, case, or_

    parameters = {name: bindparam(name, type_=table.columns[name].type) for name in (*key, *values)}
    if dialect == "mysql":
        from sqlalchemy.dialects.mysql import insert as mysql_insert

        statement = mysql_insert(table).values(parameters)
        if on_conflict == "ignore" or not values:
            return statement.prefix_with("IGNORE")
        new = statement.inserted
        if newest is None:
            return statement.on_duplicate_key_update({name: new[name] for name in values})
        fits = or_(table.c[newest].is_(None), new[newest] >= table.c[newest])
        # MySQL assigns from left to right: the column that decides must change last.
        order = [name for name in values if name != newest] + [newest]
        return statement.on_duplicate_key_update([(n, case((fits, new[n]), else_=table.c[n])) for n in order])
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
    upsert = insert(table).values(parameters)
    if on_conflict == "ignore" or not values:
        return upsert.on_conflict_do_nothing(index_elements=key)
    where = None
    if newest is not None:
        where = or_(table.c[newest].is_(None), upsert.excluded[newest] >= table.c[newest])
    return upsert.on_conflict_do_update(
        index_elements=key, set_={name: upsert.excluded[name] for name in values}, where=where
    )


def _bound(table: Table, name: str, value: Any) -> Any:
    """A value as its column takes it. Raises Reject where it cannot."""
    from sqlalchemy import types

    column: Column[Any] = table.columns[name]
    kind = column.type
    if value is None:
        return None
    try:
        if isinstance(kind, types.JSON):
            return value
        if isinstance(value, (list, dict)):
            return json.dumps(value, ensure_ascii=False, default=str)
        if isinstance(kind, types.Boolean):
            return bool(value) if isinstance(value, (bool, int)) else _refuse(column, value)
        if isinstance(kind, types.DateTime):
            return _moment(value, bool(kind.timezone), table, column)
        if isinstance(kind, types.Integer):
            return int(value)
        if isinstance(kind, types.Numeric):
            return float(value) if kind.asdecimal is False else Decimal(str(value))
        if isinstance(kind, (types.String, types.Text)):
            if isinstance(value, datetime):
                return value.astimezone(UTC).isoformat()
            return value if isinstance(value, str) else json.dumps(value) if isinstance(value, bool) else str(value)
    except (ValueError, TypeError, InvalidOperation, OverflowError):
        return _refuse(column, value)
    return value


def _moment(value: Any, aware: bool, table: Table, column: Column[Any]) -> datetime:
    if not isinstance(value, datetime):
        return _refuse(column, value, "; a Unix time becomes one by | timestamp")  # type: ignore[no-any-return]
    moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    moment = moment.astimezone(UTC)
    return moment if aware else moment.replace(tzinfo=None)


def _refuse(column: Column[Any], value: Any, hint: str = "") -> Any:
    raise Reject(f"column {column.name} is {column.type}, which takes no {type(value).__name__}{hint}")
