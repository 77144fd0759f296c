"""pgqueuer on PostgreSQL: jobs that each POST a body to the sink. Prints jobs a second.

pgqueuer_jobs.py DSN SINK_PORT COUNT CONCURRENCY

Set up for throughput: jobs are enqueued in batches; the worker's own cap bounds how many run at once
(`max_concurrent_tasks`; a batch is at most half of it), not a `concurrency_limit` on the entry point, which is counted
over all workers at each dequeue and made it twelve times slower; ANALYZE after the backlog was written, as autovacuum
would do; asyncpg with a pool; uvloop.
"""

import sys
import time

import aiohttp
import asyncpg
import uvloop
from pgqueuer import AsyncpgPoolDriver, Job, Queries, QueueManager
from pgqueuer.types import QueueExecutionMode

DSN, SINK, COUNT, CONCURRENCY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


async def main() -> None:
    async with (
        asyncpg.create_pool(DSN, min_size=2, max_size=8) as pool,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        queries = Queries(AsyncpgPoolDriver(pool))
        await queries.install()
        manager = QueueManager(queries)

        @manager.entrypoint("forward")
        async def forward(job: Job) -> None:
            async with session.post(f"http://127.0.0.1:{SINK}/", data=job.payload) as response:
                await response.read()
                response.raise_for_status()

        body = b"x" * 3500
        for _ in range(0, COUNT, 500):
            await queries.enqueue(["forward"] * 500, [body] * 500, [0] * 500)
        await pool.execute("ANALYZE")
        start = time.perf_counter()
        await manager.run(batch_size=CONCURRENCY // 2, mode=QueueExecutionMode.drain, max_concurrent_tasks=CONCURRENCY)
        print(COUNT / (time.perf_counter() - start))


uvloop.run(main())
