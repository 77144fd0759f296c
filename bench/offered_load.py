"""Intake against offered load, to past saturation, on SQLite and on PostgreSQL; then an overload and the recovery.

    .venv/bin/python -m bench.offered_load [--rounds 3] [--rates 500 ...] [--results FILE] [--svg FILE]

Requests are sent when they are due (bench/open_loop.py): waiting counts. The gateway's destination takes connections
and never answers, so that intake alone is measured. Each 200 is looked for in the store after `kill -9`. With
`--results` rounds are kept, and those of earlier runs with the same file are reported too; `--rounds 0` reports alone.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.figures import kept, percentile, table
from bench.intake import silent_sink
from bench.intake_postgres import postgres_server
from bench.open_loop import NO_ANSWER, Answer, due_times, offer
from bench.plot import Axis, Panel, Series, chart
from bench.stores import POSTGRESQL, SQLITE, Started, gateway_on, select
from bench.traffic import signed_requests

RATES = [250, 500, 1000, 2000, 3000, 4000, 5000, 6000, 8000, 10000, 12000, 14000, 17000, 20000]
WARM = (500, 1.0)
CALM_BEFORE, CALM_AFTER = 2.0, 5.0  # seconds


class Client:
    """Posts distinct events to one gateway and remembers which were answered 200."""

    def __init__(self, gateway: Started) -> None:
        self.gateway = gateway
        self.accepted: set[str] = set()

    def post(self, phases: Sequence[tuple[float, float]]) -> tuple[list[Answer], dict[str, float]]:
        """The answers, and the cores that were used."""
        due = due_times(phases)
        ids, requests = zip(*signed_requests(len(due)), strict=True)
        cpu = self.gateway.cpu()
        answers = offer(self.gateway.port, requests, due)
        cores = cpu.cores()
        self.accepted.update(itertools.compress(ids, (answer.status == 200 for answer in answers)))
        return answers, cores


def figures(answers: Sequence[Answer], seconds: float) -> dict[str, float]:
    """What a span of requests came to."""
    taken = [answer for answer in answers if answer.status == 200]
    shed = [answer for answer in answers if answer.status == 503]
    last = max((answer.answered for answer in taken), default=0.0)
    return {
        "offered": len(answers) / seconds,
        "rate": len(taken) / max(seconds, last - answers[0].due),
        "shed": len(shed),
        "unanswered": sum(answer.status == NO_ANSWER for answer in answers),
        "other": sum(answer.status not in (200, 503, NO_ANSWER) for answer in answers),
        "p50_ms": percentile([answer.latency_ms for answer in taken], 0.5),
        "p99_ms": percentile([answer.latency_ms for answer in taken], 0.99),
        "shed_p50_ms": percentile([(answer.answered - answer.sent) * 1000 for answer in shed], 0.5),
        "shed_p99_ms": percentile([(answer.answered - answer.sent) * 1000 for answer in shed], 0.99),
        "late_p99_ms": percentile([(answer.sent - answer.due) * 1000 for answer in answers], 0.99),
    }


def measure(store: str, number: int, rates: Sequence[float], seconds: float, overload: Sequence[float]) -> Any:
    """One round on one store: a step for each rate on one gateway, then the overload."""
    with tempfile.TemporaryDirectory(prefix="bench-") as base, silent_sink() as sink:
        folder = Path(base)
        if store == SQLITE:
            yield from _measure("sqlite:///gateway.db", None, folder, sink, store, number, rates, seconds, overload)
        else:
            with postgres_server(folder / "pg") as server:
                url = server.get_uri("postgres")
                yield from _measure(url, server, folder, sink, store, number, rates, seconds, overload)


def _measure(
    url: str, server: Any, folder: Path, sink: int, store: str, number: int, rates: Sequence[float], seconds: float,
    overload: Sequence[float],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    about = {"store": store, "round": number}
    with gateway_on(url, folder, server, sink) as gateway:
        client = Client(gateway)
        client.post([WARM])
        for rate in rates:
            answers, cores = client.post([(rate, seconds)])
            yield about | {"kind": "step", "asked": rate, **figures(answers, seconds), "cores": cores}
        calm, flood, flood_seconds = overload
        phases = [(calm, CALM_BEFORE), (flood, flood_seconds), (calm, CALM_AFTER)]
        answers, cores = client.post(phases)
        by_second = itertools.groupby(answers, lambda answer: int(answer.due))
        spans = [figures(list(group), 1.0) for _, group in by_second]
        yield about | {"kind": "overload", "seconds": spans, "cores": cores}
    stored = {event_id for (event_id,) in select(url, folder, "SELECT id FROM events")}
    lost = len(client.accepted - stored)
    yield about | {"kind": "check", "accepted": len(client.accepted), "stored": len(stored), "lost": lost}
    if lost:
        raise RuntimeError(f"{lost} events were answered 200 and are not in the store")


def medians(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The median of each figure over the rounds that have it."""
    numbers = {
        name: [result[name] for result in results]
        for name, value in results[0].items()
        if isinstance(value, int | float)
    }
    there = {name: [value for value in values if not math.isnan(value)] for name, values in numbers.items()}
    return {name: statistics.median(values) if values else math.nan for name, values in there.items()}


def report(results: Sequence[dict[str, Any]], svg: Path | None) -> None:
    """Tables of medians, and the plot."""
    steps: dict[str, list[dict[str, float]]] = {}
    for store in (SQLITE, POSTGRESQL):
        of_store = [result for result in results if result["store"] == store]
        if not of_store:
            continue
        by_rate: dict[float, list[dict[str, Any]]] = {}
        for result in of_store:
            if result["kind"] == "step":
                by_rate.setdefault(result["asked"], []).append(result)
        steps[store] = [medians(group) for _, group in sorted(by_rate.items())]
        names = list(of_store[0]["cores"])
        rows = []
        for rate, group in sorted(by_rate.items()):
            middle, cores = medians(group), medians([step["cores"] for step in group])
            rows.append(
                [f"{rate:,.0f}", f"{middle['rate']:,.0f}", *(f"{middle[name]:,.1f}" for name in ("p50_ms", "p99_ms")),
                 f"{middle['shed']:,.0f}", f"{middle['unanswered'] + middle['other']:.0f}",
                 *(f"{cores[name]:.2f}" for name in names)]
            )  # fmt: skip
        print(f"\n{store}, {len(group)} rounds, medians\n")
        columns = ["offered/s", "200s/s", "p50 ms", "p99 ms", "503s", "other"]
        print(table([*columns, *(f"cores: {name}" for name in names)], rows))
        floods = [result["seconds"] for result in of_store if result["kind"] == "overload"]
        rows = []
        for second, spans in enumerate(zip(*floods, strict=True)):
            middle = medians(spans)
            rows.append(
                [str(second), f"{middle['offered']:,.0f}", f"{middle['rate']:,.0f}", _or_none(middle["p99_ms"]),
                 f"{middle['shed']:,.0f}", _or_none(middle["shed_p50_ms"]), _or_none(middle["shed_p99_ms"]),
                 f"{middle['unanswered'] + middle['other']:.0f}"]
            )  # fmt: skip
        print(f"\n{store}: an overload and after, medians\n")
        columns = ["second", "offered/s", "200s/s", "p99 of 200s ms", "503s", "p50 of 503s ms", "p99 of 503s ms"]
        print(table([*columns, "other"], rows))
        checks = [result for result in of_store if result["kind"] == "check"]
        accepted, lost = (sum(check[name] for check in checks) for name in ("accepted", "lost"))
        print(f"\n{store}: {accepted:,} answered 200, {lost} of them not in the store after kill -9")
    if svg is not None:
        svg.write_text(plot(steps))


def _or_none(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.1f}"


def plot(steps: dict[str, list[dict[str, float]]]) -> str:
    """Throughput and p99 against offered load."""
    most = max(step["asked"] for of_store in steps.values() for step in of_store)
    ticks = [tick for tick in range(0, 100_000, 2000) if tick < most + 2000]
    x = Axis("events offered a second", ticks)
    ideal = Series("", [(0, 0), (ticks[-1], ticks[-1])], is_guide=True)
    rates = [Series(store, [(step["asked"], step["rate"]) for step in of_store]) for store, of_store in steps.items()]
    waits = [Series(store, [(step["asked"], step["p99_ms"]) for step in of_store]) for store, of_store in steps.items()]
    return chart(
        [
            Panel("Answered 200", x, Axis("events a second", ticks), [ideal, *rates]),
            Panel("p99 of the 200s", x, Axis("ms", [1, 10, 100, 1000, 10_000], is_log=True), waits),
        ]
    )


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--overload", type=float, nargs=3, default=[1500, 25000, 4], metavar=("CALM", "FLOOD", "S"))
    parser.add_argument("--only", nargs="+", choices=[SQLITE, POSTGRESQL], default=[SQLITE, POSTGRESQL])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    measured = (
        result
        for number in range(options.rounds)
        for store in options.only[:: 1 if number % 2 else -1]
        for result in measure(store, number, options.rates, options.seconds, options.overload)
    )
    report(kept(options.results, measured), options.svg)


if __name__ == "__main__":
    main()
