"""What tracing costs intake: one event through the public listener's handler, with a store that answers at once.

    python -m bench.tracing

Three ways in turn, several rounds, the best of each: no `tracing:`, ratio 0 (a context is tracer and kept, nothing is
sent), ratio 1 (two spans an event, encoded and sent to a collector in this process, which shares the CPU).
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.config.load import load
from gateway.core.model import Event, PlannedDelivery
from gateway.core.tracing import Tracer
from gateway.delivery.fetch import StripeFetcher
from gateway.intake.planning import intake_of
from gateway.intake.webhook import Handler
from gateway.store.answers import Added
from gateway.store.sqlite.store import SqliteStore
from gateway.stripe.connections import StripeApis
from gateway.telemetry.metrics import Metrics
from gateway.testing import make_event, signed_request

EVENTS = 3000
ROUNDS = 5
CONFIG = """\
version: 1
accounts: {acme: {signing_secrets: [whsec_bench]}}
connections: {w: {type: http, url: "https://w.example/"}}
routes: {r: {events: ["*"], actions: {a: {uses: http_forward, with: {connection: w}}}}}
"""


class AtOnce(SqliteStore):
    """Takes every event, and keeps none."""

    async def add(self, event: Event, planned: Sequence[PlannedDelivery]) -> Added:
        return Added(is_duplicate=False)


async def measure(folder: Path, tracing: str) -> float:
    """Microseconds an event."""
    (folder / "gateway.yaml").write_text(CONFIG + tracing)
    config = load(folder / "gateway.yaml", {})
    log = structlog.wrap_logger(None, processors=[_drop])
    store, close = AtOnce(folder / "none.db"), None
    tracer: Tracer | None = None
    if config.settings.tracing is not None:
        from gateway.telemetry.otel import start_tracing

        tracer, _, close = start_tracing(config, StripeFetcher(store, StripeApis()), log)
    intake = intake_of(config)
    handler = Handler(store, lambda: intake, log, Metrics(), lambda request: None, tracer=tracer)
    body = json.dumps(make_event()).encode()
    request = make_mocked_request("POST", "/webhooks/acme", signed_request(body, "whsec_bench"))
    start = time.perf_counter()
    for number in range(EVENTS):
        assert (await handler(request, body)).status == 200
        if number % 50 == 0:
            await asyncio.sleep(0)
    seconds = time.perf_counter() - start
    if close is not None:
        await close()
    return seconds / EVENTS * 1e6


def _drop(logger: object, method: str, entry: object) -> str:
    raise structlog.DropEvent


async def main() -> None:
    async def take(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(content_type="application/x-protobuf")

    runner = web.ServerRunner(web.Server(take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    ways = {
        "off": "",
        "ratio 0": f'tracing: {{endpoint: "{url}", ratio: 0}}\n',
        "ratio 1": f'tracing: {{endpoint: "{url}"}}\n',
    }
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            for name, tracing in ways.items():
                best[name] = min(best.get(name, 1e9), await measure(Path(folder), tracing))
    await runner.cleanup()
    for name, microseconds in best.items():
        print(f"{name:8} {microseconds:6.1f} us an event")


asyncio.run(main())
