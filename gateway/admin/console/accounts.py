"""Accounts: when each was last heard of, versions, secrets, and what drifts from the configuration."""

from __future__ import annotations

from aiohttp import web

from gateway.admin.console.render import page
from gateway.admin.reports.accounts import accounts
from gateway.admin.request import parts


async def listed(request: web.Request) -> web.StreamResponse:
    """Those of the configuration."""
    return page(request, "accounts.html", {"accounts": await accounts(parts(request))})
