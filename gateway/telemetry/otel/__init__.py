"""Tracing by OpenTelemetry: spans for requests, commits and attempts, exported by OTLP over HTTP. Imported only where
`tracing:` is configured; needs the extra `otel`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from gateway import __version__
from gateway.config.load import Config
from gateway.core.tracing import Tracer
from gateway.delivery.fetch import Fetcher
from gateway.telemetry.otel.exporter import Pipeline
from gateway.telemetry.otel.spans import SpanTracer


def start_tracing(
    config: Config, fetcher: Fetcher, log: FilteringBoundLogger
) -> tuple[Tracer, Fetcher, Callable[[], Awaitable[None]]]:
    """What traces by the configuration's `tracing`, the fetcher traced, and what sends the last spans at the end."""
    settings = config.settings.tracing
    assert settings is not None
    pipeline = Pipeline(settings, __version__, log)
    tracer = SpanTracer(
        pipeline.provider.get_tracer("gateway", __version__), "https" if config.settings.server.tls else "http"
    )
    return tracer, tracer.fetcher(fetcher), pipeline.close
