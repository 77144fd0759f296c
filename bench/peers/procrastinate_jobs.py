"""procrastinate on PostgreSQL: jobs that each POST a body to the sink. Prints jobs a second.

procrastinate_jobs.py DSN SINK_PORT COUNT CONCURRENCY
"""

import asyncio
import sys
import time

import aiohttp
import procrastinate

DSN, SINK, COUNT, CONCURRENCY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=DSN, max_size=8))
session: aiohttp.ClientSession


@app.task(name="forward", retry=20)
async def forward(body: str) -> None:
    async with session.post(f"http://127.0.0.1:{SINK}/", data=body) as response:
        await response.read()
        response.raise_for_status()


async def main() -> None:
    global session
    async with app.open_async(), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await app.schema_manager.apply_schema_async()
        body = "x" * 3500
        for _ in range(0, COUNT, 500):
            await forward.batch_defer_async(*[{"body": body}] * 500)
        start = time.perf_counter()
        await app.run_worker_async(
            wait=False, concurrency=CONCURRENCY, install_signal_handlers=False, delete_jobs="never"
        )
        print(COUNT / (time.perf_counter() - start))


asyncio.run(main())
