"""The public listener: verify, route, commit, and only then 200. Contract, sections 2 and 6."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.core.client_address import Sources
from gateway.core.envelope import parse_event
from gateway.core.errors import EnvelopeError, SignatureError, StoreUnavailable
from gateway.core.model import TEST_EVENT_ID, Account, Event, EventSource, EventState, PlannedDelivery, RejectedRequest
from gateway.core.routing import RouteTable, route
from gateway.core.tracing import Tracer
from gateway.intake import answers
from gateway.intake.api_versions import VersionWatch
from gateway.store.protocol import Store
from gateway.store.records import new_ids
from gateway.stripe.signature import find_account, verify
from gateway.telemetry.logging import given_request_id
from gateway.telemetry.metrics import Metrics

HINTS = {
    "shared_path": "POST /webhooks is closed: there are more accounts than server.shared_path_accounts; have Stripe "
    "post to /webhooks/NAME",
    "too_large": "raise server.max_body: Stripe sends it again for three days",
    "no_match": "after the secret is mended, `gateway rejected verify` takes what is kept",
    "source": "the signature is good: maybe Stripe has new addresses (`gateway stripe-ips refresh`), or a proxy in "
    "front is not in server.trusted_proxies",
}
SOURCE_HEADER = "gateway-source"  # where `gateway send` says that it made the event; what is posted is signed anyway
_NOT_TRACED: contextlib.nullcontext[None] = contextlib.nullcontext()
UNMATCHED_LOG_SECONDS = 3600.0
LARGE_BODY = 128 * 1024  # bytes, from which on hashing takes milliseconds: a thread does it, and others are answered
MOST_WAITING = 4096  # events that wait for their commit; past it the gateway sheds load
MOST_WAITING_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Intake:
    """What intake needs of the running configuration."""

    accounts: Mapping[str, Account]
    table: RouteTable
    constants: Mapping[str, Any]
    max_body: int
    sources: Sources
    is_path_shared: bool = True  # POST /webhooks is open: few enough accounts have their secrets tried

    def route(self, event: Event) -> tuple[Event, list[PlannedDelivery]]:
        """The event in its right state, and what is owed for it. Its account is known."""
        return route(event, self.accounts, self.table, self.constants)


def recognise(intake: Intake, name: str | None, body: bytes, signature: str | None, now: float) -> Event:
    """The event that Stripe has signed for the account of that name, or for whichever account it was. Raises
    SignatureError, EnvelopeError (a good signature, but no event), KeyError (no such account).
    """
    if name is None:
        account = find_account(body, signature, intake.accounts.values(), now)
    else:
        account = intake.accounts[name]
        verify(body, signature, account, now)
    return parse_event(body, account.name, datetime.fromtimestamp(now, UTC))


def recognise_rejected(intake: Intake, request: RejectedRequest) -> Event | str:
    """The event of a rejected request by the secrets and addresses of today and the time at which it came; or why it
    stays rejected.
    """
    if request.account is not None and request.account not in intake.accounts:
        return "unknown_account"
    if request.reason == "too_large":
        return request.reason
    try:
        event = recognise(intake, request.account, request.body, request.signature, request.received_at.timestamp())
    except SignatureError as refusal:
        return refusal.reason
    except EnvelopeError:
        return "malformed_event"
    if not intake.sources.allow(intake.sources.client(request.peer, request.forwarded_for)):
        return "source"
    if event.id == TEST_EVENT_ID:  # each is new; the same one checked twice is not
        event = replace(event, id=f"{TEST_EVENT_ID}_{request.id.removeprefix('rej_')}")
    return replace(event, source=EventSource.REJECTED)


class Application(Protocol):
    """What answers the requests of a server."""

    @property
    def max_body(self) -> int:
        """Bytes that a body may have."""

    def precheck(self, request: web.BaseRequest) -> web.Response | None:
        """The answer where the head alone says that there is nothing to do, or None."""

    def too_large(self, request: web.BaseRequest) -> web.Response:
        """The answer to one whose body has more bytes than that."""

    async def __call__(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """The answer to what `precheck` let pass."""


def header(request: web.BaseRequest, name: str) -> str | None:
    """The value of a header, None where it is missing. Where it was sent several times the values are joined with
    commas, as RFC 9110 (section 5.3) reads them; a byte is a character, so that it can be stored.
    """
    values = request.headers.getall(name, None)
    if values is None:
        return None
    text = ",".join(values)
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def _path(request: web.BaseRequest) -> str:
    """As sent, without the query: nothing is decoded."""
    return request.raw_path.partition("?")[0]


class Handler:
    """Answers every request of the public listener."""

    def __init__(
        self,
        store: Store,
        intake: Callable[[], Intake],
        log: FilteringBoundLogger,
        metrics: Metrics,
        reject: Callable[[RejectedRequest], None],
        took: Callable[[Event, Sequence[PlannedDelivery]], None] = lambda event, planned: None,
        tracer: Tracer | None = None,
    ) -> None:
        """`reject` is given what was refused, `took` what was committed and is no duplicate."""
        self._store = store
        self._tracer = tracer
        self._metrics = metrics
        self._run = secrets.token_hex(4)  # so that the ids of requests of two runs differ
        self._requests = 0
        self._intake = intake
        self._log = log
        self._reject = reject
        self._took = took
        self.versions = VersionWatch(log)
        self._unmatched_logged: dict[tuple[str, bool], float] = {}
        self._refusals_logged: dict[str, float] = {}
        self.is_stopping = False  # not ready any more, for whoever asks; webhooks are taken to the end
        self._waiting = 0  # for their commit
        self._waiting_bytes = 0

    @property
    def max_body(self) -> int:
        """Bytes that a body may have."""
        return self._intake().max_body

    def precheck(self, request: web.BaseRequest) -> web.Response | None:
        """The answer where the head alone says that there is nothing to do."""
        path = _path(request)
        if path.startswith("/webhooks"):
            if path != "/webhooks":
                if not path.startswith("/webhooks/"):
                    return answers.NOT_FOUND()
                if path[len("/webhooks/") :] not in self._intake().accounts:
                    self._metrics.refused("unknown_account")
                    return answers.UNKNOWN_ACCOUNT()
            elif not self._intake().is_path_shared:
                self._metrics.refused("shared_path")
                self._log_refusal("", "shared_path", self._request_id(request))
                return answers.NOT_FOUND()
            return None if request.method == "POST" else answers.USE_POST()
        if path in ("/healthz", "/readyz"):
            return None if request.method in ("GET", "HEAD") else answers.USE_GET()
        return answers.NOT_FOUND()

    def too_large(self, request: web.BaseRequest) -> web.Response:
        """Has what came to an account kept, but for its body."""
        path = _path(request)
        if not path.startswith("/webhooks"):
            self._metrics.refused("too_large")
            return answers.TOO_LARGE()
        name = path[len("/webhooks/") :] or None
        answer, now = answers.TOO_LARGE, time.time()
        return self._keep_rejected(
            self._intake(), request, b"", name, "too_large", now, self._request_id(request), answer
        )

    async def __call__(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """The answer to what `precheck` let pass."""
        path = _path(request)
        if path == "/healthz":
            return answers.ALIVE()
        if path == "/readyz":
            return await self._readyz()
        return await self._webhook(request, body, path[len("/webhooks/") :] or None)

    def _request_id(self, request: web.BaseRequest) -> str:
        """The proxy's where it gave one, else one of our own."""
        given = given_request_id(header(request, "x-request-id"))
        if given is not None:
            return given
        self._requests += 1
        return f"{self._run}-{self._requests:x}"

    async def _readyz(self) -> web.Response:
        if self.is_stopping:
            return answers.STOPPING()
        try:
            async with asyncio.timeout(5):
                await self._store.ping()
        except (StoreUnavailable, TimeoutError):
            return answers.NOT_READY()
        return answers.READY()

    async def _webhook(self, request: web.BaseRequest, body: bytes, name: str | None) -> web.Response:
        start = time.perf_counter()
        request_id = self._request_id(request)
        intake = self._intake()
        if self._waiting >= MOST_WAITING or self._waiting_bytes + len(body) > MOST_WAITING_BYTES:
            self._metrics.refused("overloaded")
            self._log_refusal(name or "", "overloaded", request_id)
            return answers.UNAVAILABLE()
        now = time.time()
        try:
            event = await self._recognise(intake, name, body, header(request, "stripe-signature"), now)
        except SignatureError as refusal:
            return self._keep_rejected(
                intake, request, body, name, refusal.reason, now, request_id, answers.BAD_SIGNATURE
            )
        except EnvelopeError:
            return self._keep_rejected(
                intake, request, body, name, "malformed_event", now, request_id, answers.MALFORMED
            )
        except KeyError:  # a reload took the account away since `precheck`
            return answers.UNKNOWN_ACCOUNT()
        if intake.sources.allowed is not None and not self._is_allowed(intake, request):
            return self._keep_rejected(intake, request, body, name, "source", now, request_id, answers.FORBIDDEN)
        if header(request, SOURCE_HEADER) == EventSource.SEND:
            event = replace(event, source=EventSource.SEND)
        if event.id == TEST_EVENT_ID:  # each is new, though the Dashboard gave them all one id
            event = replace(event, id=f"{TEST_EVENT_ID}_{secrets.token_hex(6)}")
        event, planned = intake.route(event)
        log, arrival = self._log, None
        if self._tracer is not None:
            arrival = self._tracer.arrival(partial(header, request), _path(request), event, now)
            event = replace(event, trace=arrival.context)
            log = log.bind(trace_id=arrival.trace_id)
        committing = time.perf_counter()
        self._waiting += 1
        self._waiting_bytes += len(body)
        try:
            with arrival or _NOT_TRACED:
                added = await self._store.add(event, planned)
                outcome = "duplicate" if added.is_duplicate else event.state.value
                if arrival is not None:
                    arrival.stored(outcome)
        except StoreUnavailable as failure:
            self._metrics.refused("unavailable")
            self._log_refusal("", "store", request_id, error=str(failure))
            return answers.UNAVAILABLE()
        finally:
            self._waiting -= 1
            self._waiting_bytes -= len(body)
        end = time.perf_counter()
        self._metrics.event(event.account, event.type, outcome, end - start, end - committing)
        if added.is_duplicate:
            log.info(
                "event.duplicate", account=event.account, event_id=event.id, type=event.type, request_id=request_id
            )
            return answers.DUPLICATE()
        self.versions.saw(event, now)
        self._took(event, planned)
        self._log_taken(event, len(planned), now, request_id, log)
        return answers.RECEIVED()

    @staticmethod
    async def _recognise(intake: Intake, name: str | None, body: bytes, signature: str | None, now: float) -> Event:
        if len(body) < LARGE_BODY:
            return recognise(intake, name, body, signature, now)
        return await asyncio.to_thread(recognise, intake, name, body, signature, now)

    def _log_taken(self, event: Event, deliveries: int, now: float, request_id: str, log: FilteringBoundLogger) -> None:
        if event.state is EventState.UNMATCHED:
            self._log_unmatched(event, now, request_id, log)
        else:
            log.info(
                f"event.{event.state.value}",
                account=event.account,
                event_id=event.id,
                type=event.type,
                deliveries=deliveries,
                request_id=request_id,
            )

    @staticmethod
    def _is_allowed(intake: Intake, request: web.BaseRequest) -> bool:
        return intake.sources.allow(intake.sources.client(request.remote or "", header(request, "x-forwarded-for")))

    def _keep_rejected(
        self,
        intake: Intake,
        request: web.BaseRequest,
        body: bytes,
        name: str | None,
        reason: str,
        now: float,
        request_id: str,
        answer: answers.Answer,
    ) -> web.Response:
        """Has a request kept, unless nothing at all speaks for it: neither its signature nor its address."""
        peer, forwarded_for = request.remote or "", header(request, "x-forwarded-for")
        client = intake.sources.client(peer, forwarded_for)
        address = "" if client is None else str(client)
        if reason != "source" and not intake.sources.allow(client):
            self._metrics.refused("forbidden")
            self._log_refusal(name or "", "forbidden", request_id, address=address)
            return answers.FORBIDDEN()
        if reason in ("source", "malformed_event", "too_large"):
            self._metrics.refused(reason)
        else:
            self._metrics.signature_failed(reason)
        self._log_refusal(name or "", reason, request_id, address=address)
        signature = header(request, "stripe-signature")
        self._reject(
            RejectedRequest(
                id=new_ids(1, int(now * 1000), "rej")[0],
                received_at=datetime.fromtimestamp(now, UTC),
                account=name,
                reason=reason,
                address=address,
                peer=peer,
                forwarded_for=forwarded_for,
                signature=signature,
                size=len(body) + len(signature or "") + len(forwarded_for or ""),
                body=body,
            )
        )
        return answer()

    def _log_unmatched(self, event: Event, now: float, request_id: str, log: FilteringBoundLogger) -> None:
        """Once for each type an hour, so that nothing vanishes silently and nothing floods."""
        kind = (event.type, event.connected_account is None)
        if now - self._unmatched_logged.get(kind, 0.0) < UNMATCHED_LOG_SECONDS:
            return
        if len(self._unmatched_logged) > 1000:
            self._unmatched_logged.clear()
        self._unmatched_logged[kind] = now
        which = "this type" if event.connected_account is None else "this type from this connected account"
        log.warning(
            "event.unmatched",
            account=event.account,
            event_id=event.id,
            type=event.type,
            request_id=request_id,
            hint=f"no route wants {which}; it is kept, and said once an hour",
        )

    def _log_refusal(self, account: str, reason: str, request_id: str, **details: str) -> None:
        """At most once a second for each reason: a flood of bad requests floods no log."""
        now = time.monotonic()
        if now - self._refusals_logged.get(reason, -1.0) < 1.0:
            return
        self._refusals_logged[reason] = now
        if reason in HINTS:
            details["hint"] = HINTS[reason]
        self._log.warning("request.refused", account=account, reason=reason, request_id=request_id, **details)
