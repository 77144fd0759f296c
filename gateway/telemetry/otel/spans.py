"""The spans: of a request with its commit, of attempts, of what they fetch and of the requests that they send.

Names and attributes follow OpenTelemetry's semantic conventions for HTTP and messaging; what is the gateway's own
begins with `gateway.`. No attribute holds a text that a customer, an operator's template or a destination has written:
ids, names from gateway.yaml, numbers, and the kinds of errors are all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from datetime import UTC, datetime
from types import SimpleNamespace, TracebackType
from typing import Any

import aiohttp
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from yarl import URL

from gateway.core.errors import StoreUnavailable
from gateway.core.model import Account, AttemptOutcome, Claim, Event, Fetch, Finish, Outcome, Released
from gateway.core.tracing import Header
from gateway.delivery.fetch import Fetcher
from gateway.plugin.http_client import REQUEST_TRACING

SYSTEM = "stripe_fulfilment_gateway"
_FAILED = frozenset((AttemptOutcome.RETRY, AttemptOutcome.DEAD, AttemptOutcome.INTERRUPTED))
_W3C = TraceContextTextMapPropagator()  # https://www.w3.org/TR/trace-context/


def _headers_of(span: Span) -> dict[str, str]:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier


def kept_context(span: Span) -> str | None:
    """A span's trace context as it is kept with an event: `traceparent`, then `tracestate` where there is one."""
    return " ".join(_headers_of(span).values()) or None


def context_of(kept: str | None) -> Context:
    """The context that was kept; an empty one, where a trace begins anew, for None."""
    traceparent, _, tracestate = (kept or "").partition(" ")
    carrier = {"traceparent": traceparent, "tracestate": tracestate}
    return _W3C.extract({name: value for name, value in carrier.items() if value}, Context())


def _trace_id(span: Span) -> str:
    return trace.format_trace_id(span.get_span_context().trace_id)


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


class ArrivalSpans:
    """A request and its commit: `gateway.core.tracing.Arrival`."""

    def __init__(self, tracer: trace.Tracer, scheme: str, header: Header, path: str, event: Event, at: float) -> None:
        names = ((name, header(name)) for name in ("traceparent", "tracestate"))
        given = {name: value for name, value in names if value is not None}
        route = "/webhooks" if path == "/webhooks" else "/webhooks/{account}"
        about = {"gateway.account": event.account, "gateway.event.id": event.id, "gateway.event.type": event.type}
        self._request = tracer.start_span(
            f"POST {route}",
            context=_W3C.extract(given, Context()),
            kind=SpanKind.SERVER,
            start_time=int(at * 1e9),
            attributes={
                "http.request.method": "POST",
                "http.route": route,
                "url.path": path,
                "url.scheme": scheme,
                **about,
            },
        )
        self._commit = tracer.start_span(
            "commit inbox",
            context=trace.set_span_in_context(self._request, Context()),
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": SYSTEM,
                "messaging.operation.name": "commit",
                "messaging.operation.type": "send",
                "messaging.destination.name": "inbox",
                "messaging.message.id": event.id,
                "messaging.message.body.size": len(event.body),
                **about,
            },
        )
        self.trace_id = _trace_id(self._request)
        self.context = kept_context(self._commit)
        self._outcome: str | None = None

    def stored(self, outcome: str) -> None:
        self._outcome = outcome

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        if kind is not None:
            _fail(self._commit, kind.__name__)
        self._commit.end()
        if self._outcome is not None:
            self._request.set_attribute("gateway.event.outcome", self._outcome)
        if kind is None:
            self._request.set_attribute("http.response.status_code", 200)
        elif issubclass(kind, StoreUnavailable):
            self._request.set_attribute("http.response.status_code", 503)
            _fail(self._request, "503")
        else:  # it was not answered
            _fail(self._request, kind.__name__)
        self._request.end()


class AttemptSpan:
    """An attempt: `gateway.core.tracing.AttemptTrace`."""

    def __init__(self, tracer: trace.Tracer, claim: Claim, now: datetime) -> None:
        delivery = claim.delivery
        lane = f"{delivery.route}.{delivery.action}"
        self._tracer = tracer
        self._span = tracer.start_span(
            f"process {lane}",
            context=context_of(claim.event.trace),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": SYSTEM,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": lane,
                "messaging.message.id": delivery.id,
                "gateway.account": delivery.account,
                "gateway.event.id": delivery.event_id,
                "gateway.event.type": delivery.event_type,
                "gateway.route": delivery.route,
                "gateway.action": delivery.action,
                "gateway.delivery.id": delivery.id,
                "gateway.delivery.age_seconds": max(0.0, round((now - delivery.created_at).total_seconds(), 3)),
                "gateway.attempt.number": delivery.attempts,
            },
        )
        self.trace_id = _trace_id(self._span)
        self.headers: Mapping[str, str] = _headers_of(self._span)
        self._error: str | None = None
        self._tokens: tuple[Token[Context], Token[Any]] | None = None

    async def __aenter__(self) -> None:
        current = contexts.attach(trace.set_span_in_context(self._span, Context()))
        self._tokens = current, REQUEST_TRACING.set(lambda: request_tracing(self._tracer))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self._error = None if kind is None else kind.__name__
        if self._tokens is not None:
            contexts.detach(self._tokens[0])
            REQUEST_TRACING.reset(self._tokens[1])

    def ended(self, ending: Outcome) -> None:
        span = self._span
        if isinstance(ending, Finish):
            outcome = ending.attempt.outcome
            span.set_attribute("gateway.attempt.outcome", outcome.value)
            span.set_attribute("gateway.delivery.state", ending.state.value)
            if outcome is AttemptOutcome.RETRY:
                span.set_attribute("gateway.attempt.retry_in_seconds", round(ending.wait_seconds, 3))
            if outcome in _FAILED:
                _fail(span, outcome.value if outcome is AttemptOutcome.INTERRUPTED else self._error or outcome.value)
        else:
            outcome_word = "handed_back" if isinstance(ending, Released) else "judged"
            span.set_attribute("gateway.attempt.outcome", outcome_word)
        span.end()


def request_tracing(tracer: trace.Tracer) -> aiohttp.TraceConfig:
    """Gives each request of a session a span below the attempt that sends it, and the headers that go on its trace."""
    config = aiohttp.TraceConfig()

    async def begin(session: aiohttp.ClientSession, call: SimpleNamespace, about: Any) -> None:
        url: URL = about.url
        call.span = tracer.start_span(
            about.method,
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": about.method,
                "server.address": url.host or "",
                "server.port": url.port or 0,
                # a path may hold what is secret (Slack's webhooks) or a customer's, and so may a query
                "url.full": f"{url.origin()}/REDACTED",
            },
        )
        about.headers.update(_headers_of(call.span))

    async def end(session: aiohttp.ClientSession, call: SimpleNamespace, about: Any) -> None:
        status = about.response.status
        call.span.set_attribute("http.response.status_code", status)
        if status >= 400:
            _fail(call.span, str(status))
        call.span.end()

    async def fail(session: aiohttp.ClientSession, call: SimpleNamespace, about: Any) -> None:
        _fail(call.span, type(about.exception).__name__)
        call.span.end()

    config.on_request_start.append(begin)
    config.on_request_end.append(end)
    config.on_request_exception.append(fail)
    return config


class TracedFetcher:
    """A fetcher whose fetches are spans of the attempts that ask for them. Stripe is told nothing of the trace."""

    def __init__(self, inner: Fetcher, tracer: trace.Tracer) -> None:
        self._inner = inner
        self._tracer = tracer

    async def fetch(
        self, claim: Claim, envelope: Mapping[str, Any], account: Account, fetch: Fetch
    ) -> Mapping[str, Any]:
        with self._tracer.start_as_current_span(
            "fetch", attributes={"gateway.account": account.name}, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                return await self._inner.fetch(claim, envelope, account, fetch)
            except BaseException as error:
                _fail(span, type(error).__name__)
                raise


class SpanTracer:
    """`gateway.core.tracing.Tracer`."""

    def __init__(self, tracer: trace.Tracer, scheme: str) -> None:
        self._tracer = tracer
        self._scheme = scheme  # of the public listener: http or https

    def arrival(self, header: Header, path: str, event: Event, at: float) -> ArrivalSpans:
        return ArrivalSpans(self._tracer, self._scheme, header, path, event, at)

    def attempt(self, claim: Claim) -> AttemptSpan:
        return AttemptSpan(self._tracer, claim, datetime.now(UTC))

    def fetcher(self, inner: Fetcher) -> TracedFetcher:
        """The same fetcher, traced."""
        return TracedFetcher(inner, self._tracer)
