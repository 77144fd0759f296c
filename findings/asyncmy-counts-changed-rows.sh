#!/usr/bin/env bash
# asyncmy asks MySQL and MariaDB for the rows that an UPDATE changed, not for those that it found: the same statement a second
# time counts 0, where PostgreSQL and SQLite count 1. `client_flag=2` (FOUND_ROWS) asks for what was found. As MySQL's protocol
# has it, and as SQLAlchemy's drivers for MySQL do not: they turn the flag on.
. "$(dirname "$0")/common.sh"
needs mariadbd
needs mariadb-install-db
packages asyncmy==0.2.18
seen 'by default: 1, then 0
client_flag=2 (FOUND_ROWS): 1, then 1' <<'PY'
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncmy


async def counts(path, flag):
    connection = await asyncmy.connect(user="root", unix_socket=str(path), client_flag=flag)
    numbers = []
    async with connection.cursor() as cursor:
        await cursor.execute("CREATE OR REPLACE TABLE shop.orders (id int PRIMARY KEY, state varchar(20))")
        await cursor.execute("INSERT INTO shop.orders VALUES (1, 'new')")
        for _ in range(2):
            numbers.append(await cursor.execute("UPDATE shop.orders SET state = 'paid' WHERE id = 1"))
    await connection.commit()
    connection.close()
    return numbers


async def main(path):
    connection = await asyncmy.connect(user="root", unix_socket=str(path))
    async with connection.cursor() as cursor:
        await cursor.execute("CREATE DATABASE shop")
    connection.close()
    for name, flag in (("by default", 0), ("client_flag=2 (FOUND_ROWS)", 2)):
        first, second = await counts(path, flag)
        print(f"{name}: {first}, then {second}")


with tempfile.TemporaryDirectory(prefix="f") as folder:
    common = ["--no-defaults", f"--datadir={folder}/data"] + (["--user=root"] if os.getuid() == 0 else [])
    subprocess.run(["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
                   check=True, capture_output=True)
    path = Path(folder, "s")
    server = subprocess.Popen(["mariadbd", *common, f"--socket={path}", "--skip-networking"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if path.exists():
                break
            time.sleep(0.1)
        asyncio.run(main(path))
    finally:
        server.terminate()
        server.wait(60)
PY
