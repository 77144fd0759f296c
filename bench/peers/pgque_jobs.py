"""PgQue on PostgreSQL: events that each are POSTed to the sink. Prints events a second.

pgque_jobs.py DSN SINK_PORT COUNT CONCURRENCY PGQUE_SQL

Set up as docs/installation.md and docs/latency-and-tuning.md of its repository advise: events are sent in batches
(`send_batch`), ticks are made without pg_cron, one for every 500 events (`ticker_max_count`, the default), a batch is
received whole and posted, at most CONCURRENCY at once, what failed is given back (`nack`), and the batch is
acknowledged. Its `Consumer` calls handlers one after another, so the calls of the client below it are used. PgQue keeps
no outcome of an event, only how far a consumer has come: where a worker dies, its batch comes again.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import aiohttp
import pgque
import psycopg
import uvloop

DSN, SINK, COUNT, CONCURRENCY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
QUEUE, CONSUMER = "forward", "bench"


def fill(client: pgque.PgqueClient) -> None:
    client.conn.execute("SELECT pgque.create_queue(%s)", (QUEUE,))
    client.subscribe(QUEUE, CONSUMER)
    for _ in range(0, COUNT, 500):
        client.send_batch(QUEUE, "forward", [{"body": "x" * 3500}] * 500)
        client.force_next_tick(QUEUE)
        client.ticker(QUEUE)
    client.conn.execute("ANALYZE")


async def main() -> None:
    with psycopg.connect(DSN, autocommit=True) as connection:
        connection.execute(Path(sys.argv[5]).read_bytes())
        client = pgque.PgqueClient(connection)
        fill(client)
        places = asyncio.Semaphore(CONCURRENCY)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def forward(message: pgque.Message) -> Exception | None:
                async with places:
                    try:
                        body = json.loads(message.payload)["body"]
                        async with session.post(f"http://127.0.0.1:{SINK}/", data=body) as response:
                            await response.read()
                            response.raise_for_status()
                    except (aiohttp.ClientError, TimeoutError) as error:
                        return error
                return None

            start, ended = time.perf_counter(), 0
            while ended < COUNT:
                messages = await asyncio.to_thread(client.receive, QUEUE, CONSUMER, COUNT)
                if not messages:
                    connection.execute("SELECT pgque.maint_retry_events()")
                    await asyncio.to_thread(client.ticker, QUEUE)
                    continue
                errors = await asyncio.gather(*map(forward, messages))
                for message, error in zip(messages, errors, strict=True):
                    if error is not None:
                        client.nack(message.batch_id, message, reason=str(error))
                    else:
                        ended += 1
                await asyncio.to_thread(client.ack, messages[0].batch_id)
            print(COUNT / (time.perf_counter() - start))


uvloop.run(main())
