"""Reloads leave nothing behind: no object, no file, no module, no resource. `make reloads` makes ten thousand."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import structlog

from gateway.app.gateway import running
from gateway.config.load import load
from gateway.config.runtime import ReloadOutcome
from gateway.testing import make_event
from tests.acceptance.harness import FORWARD_SECRET, SECRET, Sink, free_port, post
from tests.integration.live_gateway import NOTE_PLUGIN
from tests.waiting import until

pytestmark = pytest.mark.slow

RELOADS = int(os.environ.get("GATEWAY_RELOADS", "300"))
WARM_UP = 200  # caches of bounded size fill meanwhile

PLUGIN = NOTE_PLUGIN.replace("OUTPUT", '{"round": ROUND}')


def write(folder: Path, port: int, admin: int, sink: str, i: int) -> None:
    """The configuration of round `i`: each differs from the one before in all its parts, or is broken."""
    (folder / "plugins" / "note.py").write_text(PLUGIN.replace("ROUND", str(i // 5)))
    (folder / "note.txt.j2").write_text(f"round {i}: {{{{ object.id }}}}")
    (folder / "secret").write_text(FORWARD_SECRET)
    (folder / "gateway.yaml").write_text(
        f"""\
version: 1
plugins: [plugins]
server: {{listen: "127.0.0.1:{port}"}}
admin: {{listen: "127.0.0.1:{admin}"}}
reload: {{watch: false}}
accounts:
  acme: {{signing_secrets: [{SECRET}]}}
connections:
  warehouse:
    {{type: http, url: "{sink}", signing_secret: "${{file:secret}}", allow_private: true, headers: {{X-Round: "{i}"}}}}
  shop: {{type: database, url: "sqlite:///shop-{i % 2}.db"}}
routes:
  {"fulfil" if i % 3 else "broken: ["}:
    events: [checkout.session.*]
    if: object.amount_total > {i % 7}
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: orders
          ensure_table: true
          key: {{event_id: "{{{{ event.id }}}}"}}
          values: {{amount: "{{{{ object.amount_total }}}}"}}
      ship: {{uses: http_forward, with: {{connection: warehouse}}}}
      note: {{uses: note, with: {{text: {{template: note.txt.j2}}}}}}
"""
    )


@dataclass(frozen=True)
class Figures:
    """What a process holds."""

    objects: int
    descriptors: int
    modules: int
    tasks: int
    resident_mib: float


def figures() -> Figures:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Figures(
        objects=len(gc.get_objects()),
        descriptors=len(os.listdir("/proc/self/fd")),
        modules=len(sys.modules),
        tasks=len(asyncio.all_tasks()),
        resident_mib=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
    )


@pytest.mark.timeout(600 + RELOADS)
async def test_reloads_leave_nothing_behind(tmp_path: Path, sink: Sink) -> None:
    port, admin = free_port(), free_port()
    (tmp_path / "plugins").mkdir()
    write(tmp_path, port, admin, sink.url, 1)
    log = structlog.get_logger(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    async with running(load(tmp_path / "gateway.yaml", {}), log) as ready, aiohttp.ClientSession() as session:
        start = time.monotonic()
        first = None
        for i in range(2, WARM_UP + RELOADS + 2):
            write(tmp_path, port, admin, sink.url, i)
            result = await ready.reloader.reload("test")
            assert result.outcome is (ReloadOutcome.LOADED if i % 3 else ReloadOutcome.REFUSED)
            if i % 10 == 0:  # what is opened for a configuration is to be closed after it
                seen = len(sink.ids)
                status, _ = await post(session, f"{ready.public_url}/webhooks/acme", make_event())
                assert status == 200
                await until(lambda seen=seen: len(sink.ids) > seen)  # type: ignore[misc]
            if i in (WARM_UP, WARM_UP + RELOADS) or i % 1000 == 0:
                print(i, f"{time.monotonic() - start:.0f} s", now := figures(), flush=True)
                first = first or now
        assert first is not None
        assert now.modules == first.modules
        assert now.descriptors <= first.descriptors + 4  # connections may be open just now
        assert now.tasks <= first.tasks + 8  # deliveries may be under way
        assert now.objects < first.objects * 1.03
        assert now.resident_mib < first.resident_mib * 1.1 + 5
