"""The admin listener: opened and closed by the service."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.admin.app import make_app
from gateway.admin.auth import Access, Role
from gateway.admin.gateway_view import GatewayView
from gateway.admin.live_tail import Tail
from gateway.admin.login import SIGN_IN
from gateway.admin.operations import Operations
from gateway.admin.outbox import Outbox
from gateway.admin.reports.history import History
from gateway.admin.reports.samples import Samples
from gateway.admin.request import AdminParts
from gateway.config.schema.server import AdminSettings
from gateway.config.schema.types import split_listen
from gateway.core.errors import UsageError, cannot_listen
from gateway.core.model import Scope
from gateway.core.tasks import background
from gateway.store.protocol import Store
from gateway.telemetry.metrics import Metrics

LONGEST_LINE = 256 * 1024  # of a request: filters that name fifty of everything fit


@dataclass(frozen=True, slots=True)
class Admin:
    """Where the console answers."""

    url: str
    token: str | None = field(repr=False)  # made for this run, where gateway.yaml has none; to be printed once

    @property
    def sign_in_url(self) -> str:
        """A link that signs in: what stands behind # is sent to nobody, and enters no log."""
        return f"{self.url}{SIGN_IN}#{self.token}" if self.token else self.url


def new_token() -> str:
    """The operator's, for one run, where gateway.yaml has none."""
    return secrets.token_urlsafe(24)


def tokens_of(gateway: GatewayView, one_time_token: str | None = None) -> tuple[dict[Role, str], str | None]:
    """The tokens in force, and the one for this run, given or made, where gateway.yaml has none."""
    admin = gateway.config.settings.admin
    tokens = {Role.VIEWER: admin.viewer_token.get_secret_value(), Role.OPERATOR: admin.token.get_secret_value()}
    token_of_run = None
    if not tokens[Role.OPERATOR]:
        token_of_run = tokens[Role.OPERATOR] = one_time_token or new_token()
    return {role: token for role, token in tokens.items() if token}, token_of_run


@dataclass(frozen=True, slots=True)
class AdminSockets:
    """What listens already where the console is to answer."""

    listening: Sequence[socket.socket] = ()
    turn: asyncio.Event | None = None  # of the workers that share them, one answers: once it is its turn
    one_time_token: str | None = field(default=None, repr=False)  # theirs, where gateway.yaml has none


NO_SOCKETS = AdminSockets()  # it opens its own


@contextlib.asynccontextmanager
async def _answering(runner: web.AppRunner, sockets: AdminSockets, samples: Samples) -> AsyncIterator[None]:
    async def answer() -> None:
        if sockets.turn is not None:
            await sockets.turn.wait()
        for listening in sockets.listening:
            await web.SockSite(runner, listening).start()

    async def answer_and_sample() -> None:
        await answer()
        await samples.run()

    if sockets.turn is None:
        await answer()
        async with background(samples.run, "gateway-admin-samples"):
            yield
        return
    async with background(answer_and_sample, "gateway-admin-turn"):
        yield


def scopes_of(admin: AdminSettings) -> dict[Scope, str]:
    """The tokens that have a scope."""
    tokens = {}
    for name, token in admin.tokens.items():
        scope = Scope(name, tuple(token.accounts or ()), tuple(token.routes or ()), token.may == "act")
        tokens[scope] = token.token.get_secret_value()
    return tokens


@contextlib.asynccontextmanager
async def admin_listener(
    gateway: GatewayView,
    store: Store,
    metrics: Metrics,
    log: FilteringBoundLogger,
    outbox: Outbox | None = None,
    sockets: AdminSockets = NO_SOCKETS,
) -> AsyncIterator[Admin]:
    """Console, API and metrics, while the block runs: at `admin.listen`, or on sockets that listen already. Raises
    UsageError where the address is in use, or open to others without a token.
    """
    tokens, token_of_run = tokens_of(gateway, sockets.one_time_token)
    operations, tail = Operations(store, gateway.in_force, log), Tail(store, log)
    access = Access(tokens, scopes_of(gateway.config.settings.admin))
    samples = Samples(store, metrics, lambda: gateway.config)
    parts = AdminParts(gateway, store, operations, access, metrics, tail, History(store), samples, outbox)
    runner = web.AppRunner(make_app(parts, log), access_log=None, shutdown_timeout=2.0, max_line_size=LONGEST_LINE)
    await runner.setup()
    try:
        listen = gateway.config.settings.admin.listen
        try:
            if not sockets.listening:
                await web.TCPSite(runner, *split_listen(listen)).start()
        except OSError as error:
            raise cannot_listen("admin.listen", listen, error) from None
        bound = sockets.listening[0].getsockname() if sockets.listening else runner.addresses[0]
        if sockets.listening and token_of_run is not None and not ip_address(bound[0]).is_loopback:
            raise UsageError(
                "socket activation: the socket admin is open to other machines, which takes a token; set "
                "admin.token, or give the socket unit an address of this machine alone"
            )
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        async with _answering(runner, sockets, samples):
            yield Admin(f"http://{shown}:{bound[1]}", token_of_run)
    finally:
        await tail.close()
        await operations.jobs.close()
        await runner.cleanup()
