"""A collector of traces: takes OTLP over HTTP as any real one does, and keeps the spans that the exporter sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.waiting import HANG_SECONDS, until


@dataclass(frozen=True)
class Received:
    """One span, ids in hex."""

    name: str
    kind: str  # SERVER, PRODUCER, CONSUMER, CLIENT, INTERNAL
    trace_id: str
    span_id: str
    parent_id: str  # "" for the first of a trace
    start_ns: int
    end_ns: int
    is_error: bool
    resource: dict[str, Any] = field(repr=False)
    attributes: dict[str, Any] = field(default_factory=dict)
    events: int = 0
    message: str = ""


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


class Collector:
    """What the exporter sends to."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.headers: list[dict[str, str]] = []
        self.raw = b""  # all that came
        self.answer: Callable[[], Awaitable[web.Response]] | None = None  # instead of taking it
        self.url = ""

    async def take(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()  # aiohttp has undone gzip
        self.headers.append(dict(request.headers))
        assert request.path == "/v1/traces"
        if self.answer is not None:
            return await self.answer()
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {pair.key: _value(pair.value) for pair in resource.resource.attributes}
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                self.spans.append(
                    Received(
                        span.name,
                        span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        span.status.code == 2,
                        about,
                        {pair.key: _value(pair.value) for pair in span.attributes},
                        len(span.events),
                        span.status.message,
                    )
                )
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    async def until(self, count: int, seconds: float = HANG_SECONDS) -> list[Received]:
        """Waits for so many spans; all of them, in order of their start."""
        await until(lambda: len(self.spans) >= count, seconds)
        assert len(self.spans) == count, [span.name for span in self.spans]
        return sorted(self.spans, key=lambda span: span.start_ns)
