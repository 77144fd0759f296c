"""The admin listener: opened and closed by the service."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
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
from gateway.admin.request import AdminParts
from gateway.config.schema.types import split_listen
from gateway.core.errors import UsageError, cannot_listen
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


def tokens_of(gateway: GatewayView) -> tuple[dict[Role, str], str | None]:
    """The tokens in force, and the one that was made because there is none."""
    admin = gateway.config.settings.admin
    tokens = {Role.VIEWER: admin.viewer_token.get_secret_value(), Role.OPERATOR: admin.token.get_secret_value()}
    new_token = None
    if not tokens[Role.OPERATOR]:
        new_token = tokens[Role.OPERATOR] = secrets.token_urlsafe(24)
    return {role: token for role, token in tokens.items() if token}, new_token


@contextlib.asynccontextmanager
async def admin_listener(
    gateway: GatewayView,
    store: Store,
    metrics: Metrics,
    log: FilteringBoundLogger,
    outbox: Outbox | None = None,
    listening: socket.socket | None = None,
) -> AsyncIterator[Admin]:
    """Console, API and metrics, while the block runs: at `admin.listen`, or on a socket that listens already. Raises
    UsageError where the address is in use, or open to others without a token.
    """
    tokens, new_token = tokens_of(gateway)
    operations, tail = Operations(store, gateway.in_force, log), Tail(store, log)
    parts = AdminParts(gateway, store, operations, Access(tokens), metrics, tail, History(store), outbox)
    runner = web.AppRunner(make_app(parts, log), access_log=None, shutdown_timeout=2.0, max_line_size=LONGEST_LINE)
    await runner.setup()
    try:
        listen = gateway.config.settings.admin.listen
        try:
            if listening is None:
                await web.TCPSite(runner, *split_listen(listen)).start()
            elif new_token is not None and not ip_address(listening.getsockname()[0]).is_loopback:
                raise UsageError(
                    "socket activation: the socket admin is open to other machines, which takes a token; set "
                    "admin.token, or give the socket unit an address of this machine alone"
                )
            else:
                await web.SockSite(runner, listening).start()
        except OSError as error:
            raise cannot_listen("admin.listen", listen, error) from None
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        yield Admin(f"http://{shown}:{bound[1]}", new_token)
    finally:
        await tail.close()
        await operations.jobs.close()
        await runner.cleanup()
