"""From the answer 200 to the forward's arrival at a local sink, at a steady rate.

.venv/bin/python -m bench.latency [--rate 100] [--seconds 20] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
from aiohttp import web

from bench.figures import table
from bench.intake import CONFIG
from bench.programs import free_port, gateway_command, program
from bench.traffic import SECRET, event_body
from gateway.testing import signed_request


async def measured(url: str, sink_port: int, rate: float, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds from post to 200, and from 200 to arrival, of each event."""
    arrived: dict[str, float] = {}

    async def take(request: web.BaseRequest) -> web.Response:
        now = time.perf_counter()
        arrived[json.loads(await request.read())["id"]] = now
        return web.Response(text="ok")

    runner = web.ServerRunner(web.Server(take, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", sink_port).start()
    posted: dict[str, float] = {}
    answered: dict[str, float] = {}
    async with aiohttp.ClientSession() as session:

        async def post(order: int) -> None:
            body = event_body(order)
            headers = signed_request(body, SECRET)
            event_id = json.loads(body)["id"]
            posted[event_id] = time.perf_counter()
            async with session.post(url, data=body, headers=headers) as response:
                await response.read()
                response.raise_for_status()
                answered[event_id] = time.perf_counter()

        start = time.perf_counter()
        tasks = []
        for order in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + order / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(post(order)))
        await asyncio.gather(*tasks)
        async with asyncio.timeout(60):
            while len(arrived) < len(answered):
                await asyncio.sleep(0.05)
    await runner.cleanup()
    kept = list(posted)[int(rate) :]  # the first second warms up
    return (
        [(answered[event] - posted[event]) * 1000 for event in kept],
        [(arrived[event] - answered[event]) * 1000 for event in kept],
    )


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="bench-") as base:
            port, sink = free_port(), free_port()
            config = Path(base, "gateway.yaml")
            config.write_text(
                CONFIG.format(port=port, admin=free_port(), store="x.db", secret=SECRET, sink=sink, concurrency=16)
            )
            with program(gateway_command(config), Path(base), port):
                url = f"http://127.0.0.1:{port}/webhooks/acme"
                answer, arrival = asyncio.run(measured(url, sink, options.rate, options.seconds))
        cuts = [statistics.quantiles(waits, n=100) for waits in (answer, arrival)]
        rows.append([number, *(f"{cut[i]:.1f}" for cut in cuts for i in (49, 98)), f"{max(arrival):.1f}"])
    print(table(["round", "200: p50 ms", "200: p99 ms", "arrival: p50 ms", "arrival: p99 ms", "longest ms"], rows))


if __name__ == "__main__":
    main()
