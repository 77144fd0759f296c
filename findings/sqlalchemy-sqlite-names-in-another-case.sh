#!/usr/bin/env bash
# SQLite takes the names of tables in any case. SQLAlchemy's inspector asks SQLite's pragmas for some things, and looks for others by
# the exact name in sqlite_master: of a table that is asked for in another case it tells the columns and no unique constraints
# (NoSuchTableError), and once it has a generated column not even those. Whoever reflects asks sqlite_master for the spelling.
. "$(dirname "$0")/common.sh"
packages sqlalchemy==2.1.9
seen "Orders: SQLite finds 0 rows; columns: ['id', 'code']; unique: [['code']]
orders: SQLite finds 0 rows; columns: ['id', 'code']; unique: NoSuchTableError
Orders: SQLite finds 0 rows; columns: ['id', 'code', 'twice']; unique: [['code']]
orders: SQLite finds 0 rows; columns: NoSuchTableError; unique: NoSuchTableError" <<'PY'
import sqlalchemy as sa


def reflected(columns):
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'CREATE TABLE "Orders" ({columns})')
        inspector = sa.inspect(connection)
        for name in ("Orders", "orders"):
            rows = connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar()
            try:
                told = [column["name"] for column in inspector.get_columns(name)]
            except sa.exc.NoSuchTableError:
                told = "NoSuchTableError"
            try:
                unique = [found["column_names"] for found in inspector.get_unique_constraints(name)]
            except sa.exc.NoSuchTableError:
                unique = "NoSuchTableError"
            print(f"{name}: SQLite finds {rows} rows; columns: {told}; unique: {unique}")


reflected("id INTEGER PRIMARY KEY, code TEXT, UNIQUE (code)")
reflected("id INTEGER PRIMARY KEY, code TEXT, twice INTEGER GENERATED ALWAYS AS (id * 2), UNIQUE (code)")
PY
