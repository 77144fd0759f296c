"""awa on PostgreSQL: jobs that each POST a body to the sink. Prints jobs a second.

awa_jobs.py DSN SINK_PORT COUNT CONCURRENCY

Set up for throughput as docs/configuration.md of its repository advises: jobs are enqueued by COPY
(`enqueue_many_copy`); the queue's own cap bounds how many run at once (`max_workers`); one claimer that takes up to 512
jobs in a round trip, and completions flushed 512 at a time or after 1 ms, the defaults that it says to keep for one
hot queue; ANALYZE after the backlog was written, as autovacuum would do; uvloop.
"""

import asyncio
import sys
import time
from dataclasses import dataclass

import aiohttp
import asyncpg
import uvloop
from awa import AsyncClient, Job

DSN, SINK, COUNT, CONCURRENCY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


@dataclass
class Forward:
    body: str


async def first_worker(url: str) -> None:
    """A new installation moves to its queue storage when its first worker starts, if no job was there before."""
    client = AsyncClient(url)
    await client.migrate()

    @client.task(Forward, queue="first")
    async def forward(job: Job) -> None: ...

    await client.start([("first", 1)])
    await client.shutdown()


async def fill(client: AsyncClient) -> None:
    for _ in range(0, COUNT, 500):
        await client.enqueue_many_copy([Forward("x" * 3500)] * 500, queue="forward")
    connection = await asyncpg.connect(DSN)
    await connection.execute("ANALYZE")
    await connection.close()


async def main() -> None:
    url = DSN.replace("@/", "@localhost/")  # its driver wants a host, and takes that of the query
    await first_worker(url)
    client = AsyncClient(url)
    await fill(client)
    ended, all_ended = 0, asyncio.Event()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        @client.task(Forward, queue="forward")
        async def forward(job: Job) -> None:
            nonlocal ended
            async with session.post(f"http://127.0.0.1:{SINK}/", data=job.args.body) as response:
                await response.read()
                response.raise_for_status()
            ended += 1
            if ended == COUNT:
                all_ended.set()

        start = time.perf_counter()
        await client.start([("forward", CONCURRENCY)])
        await all_ended.wait()
        seconds = time.perf_counter() - start
        await client.shutdown()
    print(COUNT / seconds)


uvloop.run(main())
