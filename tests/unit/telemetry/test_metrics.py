"""What Prometheus is told, and that the rules and the dashboard ask for nothing else."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from bisect import bisect_left
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.logging import Output
from gateway.telemetry.metrics import INTAKE_BOUNDS, MOST_TYPES, Fleet, Metrics, Queue, Scrape, quantile

MONITORING = Path(__file__).parents[3] / "config" / "monitoring"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
FLEET = Fleet((), {"0": os.getpid(), "1": os.getpid()}, {"1": 3})


def full() -> str:
    """Every metric with a value."""
    metrics = Metrics()
    metrics.event("acme", "invoice.paid", "routed", 0.004, 0.003)
    metrics.event("acme", "invoice.paid", "duplicate", 0.2, 0.1)
    metrics.signature_failed("no_match")
    metrics.refused("too_large")
    metrics.attempt("fulfil", "save", "succeeded", 0.3)
    metrics.reloaded("failed")
    scrape = Scrape(
        {"shop": Queue({"pending": 3, "dead": 1}, 12.5)}, {"shop": "paused"}, {"acme": NOW}, 4096, "abc", True
    )
    return metrics.text(scrape, NOW.timestamp() + 60, FLEET).decode()


def values(text: str) -> dict[str, float]:
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_was_counted_is_told() -> None:
    found = values(full())
    assert found['gateway_events_total{"account": "acme", "outcome": "duplicate", "type": "invoice.paid"}'] == 1
    assert found['gateway_signature_failures_total{"reason": "no_match"}'] == 1
    assert found['gateway_requests_refused_total{"reason": "too_large"}'] == 1
    assert found['gateway_attempts_total{"action": "save", "outcome": "succeeded", "route": "fulfil"}'] == 1
    assert found['gateway_config_reloads_total{"outcome": "failed"}'] == 1
    assert found["gateway_config_last_reload_successful{}"] == 0
    assert found['gateway_intake_duration_seconds_bucket{"le": "0.005"}'] == 1
    assert found['gateway_intake_duration_seconds_bucket{"le": "+Inf"}'] == 2
    assert found["gateway_intake_duration_seconds_sum{}"] == pytest.approx(0.204)
    assert found['gateway_queue_oldest_age_seconds{"connection": "shop"}'] == 12.5
    assert found['gateway_connection_state{"connection": "shop", "state": "paused"}'] == 1
    assert found['gateway_connection_state{"connection": "shop", "state": "ok"}'] == 0
    assert found['gateway_account_silence_seconds{"account": "acme"}'] == 60


async def test_of_several_workers_all_that_was_counted_is_told_as_one() -> None:
    workers = [Metrics(dropped=lambda: 2), Metrics(dropped=lambda: 3)]
    for metrics in workers:
        metrics.event("acme", "invoice.paid", "routed", 0.004, 0.003)
        metrics.own_event("gateway.delivery.dead")
        metrics.signature_failed("no_match")
        metrics.refused("too_large")
        metrics.attempt("fulfil", "save", "succeeded", 0.3)
    workers[0].attempt("fulfil", "ship", "retry", 0.02)
    workers[0].reloaded("loaded")
    workers[0].audited("orders", "acme", 7, {"late": 1})
    workers[1].audited("orders", "acme", 9, {"late": 0})
    asked: list[object] = []

    async def all_of_them(own: object) -> Fleet:
        asked.append(own)
        return Fleet([json.loads(json.dumps(metrics.snapshot())) for metrics in workers], FLEET.pids, FLEET.restarts)

    workers[0].workers = all_of_them
    found = values((await workers[0].answer(Scrape(), 0.0)).decode())
    assert asked == [workers[0].snapshot()]
    assert found['gateway_events_total{"account": "acme", "outcome": "routed", "type": "invoice.paid"}'] == 2
    assert found['gateway_own_events_total{"type": "gateway.delivery.dead"}'] == 2
    assert found['gateway_signature_failures_total{"reason": "no_match"}'] == 2
    assert found['gateway_requests_refused_total{"reason": "too_large"}'] == 2
    assert found['gateway_attempts_total{"action": "save", "outcome": "succeeded", "route": "fulfil"}'] == 2
    assert found['gateway_attempts_total{"action": "ship", "outcome": "retry", "route": "fulfil"}'] == 1
    assert found['gateway_config_reloads_total{"outcome": "loaded"}'] == 1
    assert found['gateway_intake_duration_seconds_bucket{"le": "0.005"}'] == 2
    assert found["gateway_commit_duration_seconds_sum{}"] == pytest.approx(0.006)
    save = '"action": "save"'
    assert found[f'gateway_attempt_duration_seconds_bucket{{{save}, "le": "0.5", "route": "fulfil"}}'] == 2
    assert found["gateway_log_lines_dropped_total{}"] == 5
    # of an audit the last one counts, whoever made it
    assert found['gateway_audit_rows{"account": "acme", "outcome": "compared", "route": "orders"}'] == 9
    assert found['gateway_audit_rows{"account": "acme", "outcome": "late", "route": "orders"}'] == 0


def test_each_process_is_told_of_by_its_number_and_one_alone_by_none() -> None:
    found = values(full())
    assert found["gateway_workers{}"] == 1
    assert found['gateway_worker_restarts_total{"worker": "1"}'] == 3
    assert found['process_cpu_seconds_total{"worker": "0"}'] > 0
    assert found['process_resident_memory_bytes{"worker": "1"}'] > 0
    assert "process_cpu_seconds_total{}" not in found
    alone = values(Metrics().text(Scrape(), 0.0).decode())
    assert alone["process_cpu_seconds_total{}"] > 0
    assert "gateway_workers{}" not in alone


def test_a_process_that_has_just_ended_is_left_out() -> None:
    found = values(Metrics().text(Scrape(), 0.0, Fleet((), {"0": os.getpid(), "1": 2**30}, {})).decode())
    assert 'process_cpu_seconds_total{"worker": "0"}' in found
    assert 'process_cpu_seconds_total{"worker": "1"}' not in found


def test_unknown_types_cannot_fill_the_memory() -> None:
    metrics = Metrics()
    for number in range(MOST_TYPES + 500):
        metrics.event("acme", f"made.up_{number}", "unmatched", 0.001, 0.001)
    metrics.event("acme", "made.up_0", "unmatched", 0.001, 0.001)
    found = values(metrics.text(Scrape(), 0.0).decode())
    counted = {key: value for key, value in found.items() if key.startswith("gateway_events_total")}
    assert len(counted) == MOST_TYPES + 1
    assert counted['gateway_events_total{"account": "acme", "outcome": "unmatched", "type": "other"}'] == 500
    assert counted['gateway_events_total{"account": "acme", "outcome": "unmatched", "type": "made.up_0"}'] == 2


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is not installed")
        pytest.skip("promtool is not installed")
    return found


def test_rules_and_scrape_load_in_prometheus_and_fire_when_they_should(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MONITORING, tmp_path / "monitoring"))
    (folder / "gateway-viewer-token").write_text("token")
    for words in (["check", "config", "prometheus.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run([promtool(), *words], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_names_keep_prometheus_conventions() -> None:
    done = subprocess.run([promtool(), "check", "metrics"], input=full(), capture_output=True, text=True)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("gateway_")]
    assert ours == []


def test_rules_and_dashboard_ask_only_for_what_is_told() -> None:
    told = set(re.findall(r"^(gateway_\w+)", full(), re.MULTILINE))
    known = told | {name.removesuffix("_bucket") for name in told}
    for name in ("alerts.yaml", "dashboard.json"):
        asked = set(re.findall(r"gateway_\w+", (MONITORING / name).read_text()))
        assert asked - known == set(), name
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_dashboard_has_the_form_in_which_grafana_com_shares_them() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    assert dashboard["id"] is None  # its number in one Grafana is nobody else's
    assert dashboard["__inputs"] == []  # the data source is chosen by a variable
    needed = {(each["type"], each["id"]) for each in dashboard["__requires"]}
    assert needed >= {("panel", panel["type"]) for panel in dashboard["panels"]} | {("datasource", "prometheus")}


def test_lines_of_the_log_that_nobody_took_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Output, "dropped", 0)
    stream = io.StringIO()
    output = Output(stream)
    for is_closed in (False, True, True):
        if is_closed:
            stream.close()
        output.write("a line\n")
        output.flush()
    assert values(full())["gateway_log_lines_dropped_total{}"] == 2


def test_a_quantile_spreads_what_lies_between_two_bounds() -> None:
    bounds = (1.0, 2.0, 4.0)
    assert quantile(bounds, (0, 0, 0, 0), 0.5) is None
    assert quantile(bounds, (4, 0, 0, 0), 0.5) == 0.5
    assert quantile(bounds, (1, 0, 1, 0), 0.99) == pytest.approx(3.96)
    assert quantile(bounds, (1, 0, 0, 9), 0.5) == 4.0


async def test_what_was_timed_since_is_of_all_workers() -> None:
    metrics, other = Metrics(), Metrics()
    metrics.event("acme", "invoice.paid", "routed", 0.004, 0.003)
    before = await metrics.timed()
    other.event("acme", "invoice.paid", "routed", 0.002, 0.001)
    metrics.attempt("fulfil", "save", "dead", 0.3)

    async def workers(snapshot: Mapping[str, Any]) -> Fleet:
        return Fleet((json.loads(json.dumps(snapshot)), other.snapshot()), {}, {})

    metrics.workers = workers
    since = (await metrics.timed()).since(before)
    assert (sum(since.answered), since.answered[bisect_left(INTAKE_BOUNDS, 0.002)]) == (1, 1)
    assert {key: sum(counts) for key, counts in since.attempts.items()} == {("fulfil", "save"): 1}
    assert since.outcomes == {("fulfil", "save", "dead"): 1}
