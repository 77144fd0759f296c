"""Sends spans to a collector beside all other work: bounded in memory, in time and in what it logs."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from structlog.typing import FilteringBoundLogger

from gateway.config.schema.server import TracingSettings

MOST_WAITING = 8192  # spans that wait to be sent; past it the oldest are dropped
BATCH = 512
BATCH_MILLISECONDS = 1000.0
FLUSH_SECONDS = 3.0  # at the end what still waits is sent for so long
TOLD_SECONDS = 60.0  # a collector that is away is told once in so long


class _Session(requests.Session):
    """How the collector is reached. Keeps how the last request ended: a status or the kind of an error, never a text,
    which may quote what was sent. A redirect is a failure; the library would take it for success.
    """

    ended = "was not asked"

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        try:
            response = super().request(*args, **kwargs)
        except Exception as error:
            self.ended = f"is not reached ({type(error).__name__})"
            raise
        self.ended = f"answered {response.status_code}"
        if 300 <= response.status_code < 400:
            raise requests.TooManyRedirects
        return response


class LoggedExporter(SpanExporter):
    """An exporter whose failures are in the gateway's log: the first at once, then how many spans were lost, once in a
    while, and that it works again.
    """

    def __init__(
        self,
        inner: SpanExporter,
        reason: Callable[[], str],
        log: FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._reason = reason
        self._log = log
        self._clock = clock
        self._lost = 0  # since it was last told
        self._told_at: float | None = None  # None: it works

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends; called by the processor's own thread."""
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._told_at is not None:
                self._told_at = None
                self._log.info("tracing.recovered", lost_spans=self._lost)
                self._lost = 0
            return result
        self._lost += len(spans)
        now = self._clock()
        if self._told_at is None or now - self._told_at >= TOLD_SECONDS:
            self._told_at = now
            self._log.warning("tracing.export_failed", reason=f"the collector {self._reason()}", lost_spans=self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        """Breaks off what waits for another try."""
        self._inner.shutdown()


def _silence_library() -> None:
    """What the library would write to standard error, line by line, `LoggedExporter` logs."""
    library = logging.getLogger("opentelemetry")
    library.propagate = False
    if not library.handlers:
        library.addHandler(logging.NullHandler())


class Pipeline:
    """Where spans are made and sent."""

    def __init__(self, settings: TracingSettings, version: str, log: FilteringBoundLogger) -> None:
        _silence_library()
        session = _Session()
        session.trust_env = False  # as all that the gateway sends: no proxies, no .netrc of the environment
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._exporter = LoggedExporter(
            OTLPSpanExporter(
                endpoint=settings.endpoint,
                headers=headers,
                timeout=settings.timeout,
                compression=Compression.Gzip,
                session=session,
            ),
            lambda: session.ended,
            log,
        )
        self.provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.ratio)),
            resource=Resource.create({"service.name": settings.service, "service.version": version}),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=MOST_WAITING,
                schedule_delay_millis=BATCH_MILLISECONDS,
                max_export_batch_size=BATCH,
            )
        )
        self._log = log

    async def close(self) -> None:
        """Sends what waits, for FLUSH_SECONDS at most; a collector that hangs is left behind."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self.provider.shutdown()
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=flush, name="gateway-flush-spans", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await done.wait()
        except TimeoutError:
            self._exporter.shutdown()
            self._log.warning("tracing.not_flushed", hint="the last spans were not sent: the collector is slow or away")
