"""A gateway as a program whose events are traced: across kill -9, without a collector, without the extra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import aiohttp

from gateway.testing import make_event
from tests.acceptance.harness import ROOT, GatewayProcess, Sink, free_port, post
from tests.collector import Collector
from tests.configs import SAVE_AND_SHIP, SHOP, gateway_yaml, http
from tests.waiting import HANG_SECONDS, until


def config(port: int, warehouse: str, collector: str, first: str = "50ms", patience: str = "30s") -> str:
    return gateway_yaml(
        port=port,
        log="format: json",
        tracing=f'endpoint: "{collector}", timeout: {patience}',
        defaults=f"retry: {{attempts: 3, first: {first}, factor: 1}}",
        connections={"shop": SHOP, "warehouse": http(warehouse, "breaker: false")},
        routes=SAVE_AND_SHIP,
    )


async def test_a_retry_after_kill_9_belongs_to_the_trace_of_the_request(
    tmp_path: Path, sink: Sink, collector: Collector
) -> None:
    """The first attempt finds nobody at home and waits for an hour; the gateway is killed; a new one delivers."""
    port = free_port()
    nobody = f"http://127.0.0.1:{free_port()}/hooks"
    first = GatewayProcess(tmp_path, config(port, nobody, collector.url, "1h"), port)
    await first.start()
    assert (await first.post(make_event()))[0] == 200
    before = {span.name: span for span in await collector.until(5)}
    first.kill()
    second = GatewayProcess(tmp_path, config(port, sink.url, collector.url), port)
    await second.start()
    ((delivery_id,),) = second.rows("SELECT id FROM deliveries WHERE state = 'pending'")
    assert second.run("deliveries", "retry", delivery_id).returncode == 0
    await second.until_finished()
    assert second.terminate() == 0
    spans = await collector.until(7)
    request, commit = before["POST /webhooks/{account}"], before["commit inbox"]
    assert {span.trace_id for span in spans} == {request.trace_id}
    attempts = [span for span in spans if span.kind == "CONSUMER"]
    assert [span.name for span in attempts] == ["process fulfil.save", "process fulfil.ship", "process fulfil.ship"]
    assert {span.parent_id for span in attempts} == {commit.span_id}
    assert commit.parent_id == request.span_id
    outcomes = [
        (span.attributes["gateway.attempt.number"], span.attributes["gateway.attempt.outcome"]) for span in attempts
    ]
    assert outcomes == [(1, "succeeded"), (1, "retry"), (2, "succeeded")]
    assert [span.parent_id for span in spans if span.kind == "CLIENT"] == [span.span_id for span in attempts[1:]]
    lines = [json.loads(line) for line in second.log.read_text().splitlines() if line.startswith("{")]
    assert {line["trace_id"] for line in lines if line["event"].startswith("delivery.")} == {request.trace_id}


async def test_with_the_collector_away_everything_is_delivered_and_the_log_says_it_once(
    tmp_path: Path, sink: Sink
) -> None:
    port = free_port()
    gateway = GatewayProcess(tmp_path, config(port, sink.url, f"http://127.0.0.1:{free_port()}", patience="1s"), port)
    await gateway.start()
    async with aiohttp.ClientSession() as session:
        for _ in range(20):
            assert (await post(session, f"{gateway.url}/webhooks/acme", make_event()))[0] == 200
    await gateway.until_finished()
    await until(lambda: "tracing.export_failed" in gateway.log.read_text())
    assert gateway.terminate() == 0
    assert len(sink.ids) == 20
    lines = gateway.log.read_text().splitlines()
    assert sum("tracing.export_failed" in line for line in lines) == 1
    assert not any(word in line for line in lines for word in ("Traceback", "Transient error", "Failed to export"))


WITHOUT_EXTRA = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )


def test_without_the_extra_tracing_is_an_error_that_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(config(8080, "http://127.0.0.1:1/", "http://127.0.0.1:4318"))
    done = python(WITHOUT_EXTRA + "from gateway.cli import main; sys.argv[1:] = ['check']; main()", tmp_path)
    assert done.returncode == 1
    assert "needs the extra otel of the gateway, which is not installed" in done.stdout + done.stderr
    assert "pip install 'stripe-fulfilment-gateway[otel]', or take tracing out" in done.stdout + done.stderr


def test_without_the_extra_and_without_tracing_a_gateway_works(tmp_path: Path) -> None:
    """And where the extra is installed, nothing of it is imported, whatever a request says."""
    code = """
import asyncio, sys
from pathlib import Path
from gateway.testing import make_event
from tests.in_process import config, gateway

ROUTES = '''  r:
    events: ["*"]
    actions:
      save:
        uses: db_upsert
        with: {connection: shop, table: t, ensure_table: true, key: {id: "{{ event.id }}"}, values: {a: 1}}
'''

async def run():
    async with gateway(Path("."), config(ROUTES, "http://127.0.0.1:1")) as one:
        await one.post(make_event())
        await one.until_finished()
        assert [row[1] for row in one.deliveries()] == ["succeeded"], one.deliveries()

asyncio.run(run())
found = [name for name in sys.modules if name.startswith(("opentelemetry", "gateway.telemetry.otel"))]
assert found == [], found
print("delivered")
"""
    for begins in ("", WITHOUT_EXTRA):
        done = python(begins + code, tmp_path)
        assert done.stdout == "delivered\n", done.stderr
        for file in tmp_path.iterdir():
            file.unlink() if file.is_file() else None
