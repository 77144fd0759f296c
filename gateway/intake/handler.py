"""The public listener: verify, route, commit, and only then 200. Contract, sections 2 and 6."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.envelope import parse_event, parse_json
from gateway.errors import EnvelopeError, SignatureError, StoreUnavailable
from gateway.intake.signature import find_account, verify
from gateway.model import Account, Event, EventState, PlannedDelivery
from gateway.routing import RouteTable, plan, scope_of
from gateway.store.base import Store

_RECEIVED = b'{"received": true}'
_DUPLICATE = b'{"received": true, "duplicate": true}'
_TYPE = "application/json"
UNMATCHED_LOG_SECONDS = 3600.0
BODY_SECONDS = 20.0  # a body that takes longer to arrive is given up


@dataclass(frozen=True, slots=True)
class Intake:
    """What intake needs of the running configuration."""

    accounts: Mapping[str, Account]
    table: RouteTable
    constants: Mapping[str, Any]
    max_body: int


def route(intake: Intake, event: Event) -> tuple[Event, list[PlannedDelivery]]:
    """The event in its right state, and what is owed for it."""
    account = intake.accounts[event.account]
    if account.livemode is not None and event.livemode is not None and event.livemode != account.livemode:
        return replace(event, state=EventState.IGNORED), []
    routes = intake.table.wanting(event.account, event.type)
    if not routes:
        return replace(event, state=EventState.UNMATCHED), []
    planned = plan(routes, event.account, lambda: scope_of(parse_json(event.body), account, intake.constants))
    return (event, planned) if planned else (replace(event, state=EventState.UNMATCHED), [])


class Handler:
    """Answers every request of the public listener."""

    def __init__(self, store: Store, intake: Callable[[], Intake], log: FilteringBoundLogger) -> None:
        self._store = store
        self._intake = intake
        self._log = log
        self._unmatched_logged: dict[str, float] = {}
        self._refusals_logged: dict[str, float] = {}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path.startswith("/webhooks"):
            name = path[len("/webhooks/") :] if path.startswith("/webhooks/") else None
            if name is None and path != "/webhooks":
                return _error(404, "not_found", "There is nothing here.")
            if request.method != "POST":
                return _error(405, "method_not_allowed", "Use POST.", {"Allow": "POST"})
            return await self._webhook(request, name)
        if path in ("/healthz", "/readyz"):
            if request.method not in ("GET", "HEAD"):
                return _error(405, "method_not_allowed", "Use GET.", {"Allow": "GET"})
            return await self._readyz() if path == "/readyz" else _answer(200, b'{"status": "ok"}')
        return _error(404, "not_found", "There is nothing here.")

    async def _readyz(self) -> web.Response:
        try:
            async with asyncio.timeout(5):
                await self._store.ping()
        except (StoreUnavailable, TimeoutError):
            return _error(503, "not_ready", "The store does not answer.")
        return _answer(200, b'{"status": "ready"}')

    async def _webhook(self, request: web.BaseRequest, name: str | None) -> web.Response:
        intake = self._intake()
        account = None
        if name is not None:
            account = intake.accounts.get(name)
            if account is None:
                return _error(404, "unknown_account", "There is no such account.")
        if (request.content_length or 0) > intake.max_body:
            return _error(413, "too_large", "The body is too large.")
        try:
            body = await self._body(request, intake.max_body)
        except (TimeoutError, ConnectionError, web.HTTPException, ValueError):
            return _error(400, "malformed", "The request could not be read.")
        if body is None:
            return _error(413, "too_large", "The body is too large.")
        header = request.headers.get("Stripe-Signature")
        now = time.time()
        try:
            if account is not None:
                verify(body, header, account, now)
            else:
                account = find_account(body, header, intake.accounts.values(), now)
            event = parse_event(body, account.name, datetime.fromtimestamp(now, UTC))
        except SignatureError as error:
            self._log_refusal(name or "", error.reason)
            return _error(401, "bad_signature", "The signature was not accepted.")
        except EnvelopeError:
            self._log_refusal(name or "", "malformed_event")
            return _error(400, "malformed", "The body is not a Stripe event.")
        event, planned = route(intake, event)
        try:
            added = await self._store.add(event, planned)
        except StoreUnavailable as error:
            self._log_refusal("", "store", str(error))
            return _error(503, "unavailable", "Try again later.", {"Retry-After": "5"})
        if added.is_duplicate:
            self._log.info("event.duplicate", account=event.account, event_id=event.id, type=event.type)
            return _answer(200, _DUPLICATE)
        if event.state is EventState.UNMATCHED:
            self._log_unmatched(event, now)
        else:
            self._log.info(
                f"event.{event.state.value}",
                account=event.account,
                event_id=event.id,
                type=event.type,
                deliveries=len(planned),
            )
        return _answer(200, _RECEIVED)

    async def _body(self, request: web.BaseRequest, limit: int) -> bytes | None:
        """The body, or None where it is larger than `limit`."""
        if request.content_length is not None:
            if request.content.is_eof():  # all of it came with the headers
                return request.content.read_nowait()
            async with asyncio.timeout(BODY_SECONDS):
                return await request.read()
        chunks, size = [], 0
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > limit:
                    return None
                chunks.append(chunk)
        return b"".join(chunks)

    def _log_unmatched(self, event: Event, now: float) -> None:
        """Once for each type an hour, so that nothing vanishes silently and nothing floods."""
        if now - self._unmatched_logged.get(event.type, 0.0) < UNMATCHED_LOG_SECONDS:
            return
        if len(self._unmatched_logged) > 1000:
            self._unmatched_logged.clear()
        self._unmatched_logged[event.type] = now
        self._log.warning(
            "event.unmatched",
            account=event.account,
            event_id=event.id,
            type=event.type,
            hint="no route wants this type; it is kept, and said once an hour",
        )

    def _log_refusal(self, account: str, reason: str, error: str | None = None) -> None:
        """At most once a second for each reason: a flood of bad requests floods no log."""
        now = time.monotonic()
        if now - self._refusals_logged.get(reason, -1.0) < 1.0:
            return
        self._refusals_logged[reason] = now
        details = {"error": error} if error else {}
        self._log.warning("request.refused", account=account, reason=reason, **details)


def _answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=body, content_type=_TYPE, headers=headers)


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    text = f'{{"error": {{"code": "{code}", "message": "{message}"}}}}'
    return _answer(status, text.encode(), headers)
