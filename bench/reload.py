"""How long a reload keeps the event loop from its work: the lateness of a timer, with and without reloads under way."""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path

import structlog

from gateway.app.gateway import running, tune_garbage_collection
from gateway.config.load import load
from gateway.config.reload import Reloader

TICK_SECONDS = 0.001
ROUTE = """\
  route-{i}:
    events: [checkout.session.completed, invoice.paid]
    if: object.amount_total > {i}
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: orders
          key: {{id: "{{{{ object.id }}}}"}}
          values: {{amount: "{{{{ object.amount_total }}}}", text: "for {{{{ object.customer }}}} {round}"}}
      ship: {{uses: http_forward, needs: [save], with: {{connection: warehouse}}}}
"""


def config(routes: int, turn: int) -> str:
    """A configuration of so many routes; each turn's differs."""
    return f"""\
version: 1
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0"}}
reload: {{watch: false}}
accounts:
  acme: {{signing_secrets: [whsec_dGVzdCBzZWNyZXQ=]}}
connections:
  shop: {{type: database, url: "sqlite:///shop.db"}}
  warehouse: {{type: http, url: "https://warehouse.example/hooks"}}
routes:
{"".join(ROUTE.format(i=i, round=turn) for i in range(routes))}"""


async def lateness(until: asyncio.Event) -> list[float]:
    """How late each tick came, in milliseconds, the smallest first."""
    found = []
    while not until.is_set():
        start = time.perf_counter()
        await asyncio.sleep(TICK_SECONDS)
        found.append((time.perf_counter() - start - TICK_SECONDS) * 1000)
    return sorted(found)


async def reload_often(reloader: Reloader, path: Path, routes: int, times: int) -> float:
    """Seconds that one reload takes, on average."""
    start = time.perf_counter()
    for turn in range(times):
        path.write_text(config(routes, turn))
        result = await reloader.reload("bench")
        assert not result.problems, result.problems
    return (time.perf_counter() - start) / times


async def measure(routes: int, times: int) -> None:
    """One size of configuration."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.yaml"
        path.write_text(config(routes, -1))
        log = structlog.get_logger(wrapper_class=structlog.make_filtering_bound_logger("critical"))
        async with running(load(path, {}), log) as ready:
            tune_garbage_collection()
            done = asyncio.Event()
            idle = asyncio.create_task(lateness(done))
            await asyncio.sleep(2)
            done.set()
            quiet = await idle
            done.clear()
            busy = asyncio.create_task(lateness(done))
            seconds = await reload_often(ready.reloader, path, routes, times)
            done.set()
            ticks = await busy
            gc.unfreeze()
    print(f"{routes:5} routes: a reload takes {seconds * 1000:7.1f} ms")
    for name, late in (("meanwhile", ticks), ("without", quiet)):
        p50, p99 = late[len(late) // 2], late[-1 - len(late) // 100]
        print(f"      {name:9} a timer comes late by p50 {p50:5.2f} p99 {p99:6.2f} max {late[-1]:6.2f} ms", flush=True)


def main() -> None:
    """All sizes, as `gateway serve` runs."""
    import uvloop

    sys.setswitchinterval(0.00005)
    for routes, times in ((3, 100), (100, 20), (1000, 5)):
        uvloop.run(measure(routes, times))


if __name__ == "__main__":
    main()
