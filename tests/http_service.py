"""An HTTP service that the gateway speaks to: one handler for whatever is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Serve(Protocol):
    """Starts a service on a free port of this machine, until the test ends; options as `aiohttp_server` takes them."""

    async def __call__(self, handler: Handler, **options: Any) -> str:
        """Its address, as http://127.0.0.1:12345."""


def application(handler: Handler) -> web.Application:
    """For every method and path."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return app
