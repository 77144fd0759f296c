"""What the log says of a collector that does not work: little, and how much was lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from gateway.telemetry.otel.exporter import TOLD_SECONDS, LoggedExporter


class Switch(SpanExporter):
    """An exporter that works or not."""

    works = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS if self.works else SpanExportResult.FAILURE


def test_a_failing_collector_is_told_once_a_minute_with_what_was_lost() -> None:
    said: list[dict[str, Any]] = []

    def keep(logger: object, method: str, entry: Any) -> Any:
        said.append(dict(entry))
        raise structlog.DropEvent

    now, switch = [0.0], Switch()
    told = LoggedExporter(
        switch, lambda: "answered 500", structlog.wrap_logger(None, processors=[keep]), lambda: now[0]
    )
    spans = [ReadableSpan("one"), ReadableSpan("two")]
    for _ in range(10):
        told.export(spans)
        now[0] += 1
    first = {"event": "tracing.export_failed", "reason": "the collector answered 500", "lost_spans": 2}
    assert said == [first]
    now[0] = TOLD_SECONDS
    told.export(spans)
    assert said[1:] == [{**first, "lost_spans": 20}]
    told.export(spans)
    switch.works = True
    told.export(spans)
    told.export(spans)
    assert said[2:] == [{"event": "tracing.recovered", "lost_spans": 2}]
    switch.works = False
    told.export(spans)
    assert said[3:] == [first]
