"""The configuration in force, as a picture and as text; what was read before; who changed what."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.admin.api.schemas import Cut
from gateway.admin.console.charts import Box
from gateway.admin.console.forms import checked
from gateway.admin.console.render import page
from gateway.admin.request import parts
from gateway.config.load import Config
from gateway.config.secrets.masked_yaml import masked_files
from gateway.core.internal_events import is_own


async def show(request: web.Request) -> web.StreamResponse:
    """Everything about the configuration."""
    gateway = parts(request).gateway
    columns, arrows = picture(gateway.config)
    context = {
        "config": gateway.config,
        "files": await asyncio.to_thread(masked_files, gateway.config),
        "columns": columns,
        "arrows": arrows,
        "reloads": gateway.reloads(),
    }
    return page(request, "config.html", context)


def picture(config: Config) -> tuple[list[list[Box]], list[tuple[str, str]]]:
    """Accounts, event patterns, each route's actions along `needs`, connections; and the arrows between them."""
    accounts = [Box(f"account {name}", name, "account") for name in config.event_accounts]
    patterns: dict[str, Box] = {}
    steps: list[list[Box]] = []
    arrows: list[tuple[str, str]] = []
    for route in config.routes:
        for pattern in route.events:
            patterns.setdefault(pattern, Box(f"event {pattern}", pattern, "event"))
            takes = route.accounts or (config.event_accounts if is_own(pattern) else config.accounts)
            arrows += [(f"account {name}", f"event {pattern}") for name in takes]
        depths: dict[str, int] = {}
        for action in route.actions:  # each stands after what it needs
            key = f"action {route.name}/{action.name}"
            depth = depths[action.name] = max((depths[need] + 1 for need in action.needs), default=0)
            while len(steps) <= depth:
                steps.append([])
            href = f"/deliveries?route={route.name}&action={action.name}"
            steps[depth].append(Box(key, f"{route.name}/{action.name}", "action", href))
            arrows += [(f"action {route.name}/{need}", key) for need in action.needs]
            if not action.needs:
                arrows += [(f"event {pattern}", key) for pattern in route.events]
            if action.connection is not None:
                arrows.append((key, f"connection {action.connection}"))
    connections = [Box(f"connection {name}", name, "connection") for name in config.connections]
    return [accounts, list(patterns.values()), *steps, connections], arrows


async def audit(request: web.Request) -> web.StreamResponse:
    """Who asked for what."""
    query = checked(request.query, Cut)
    entries = await parts(request).store.audit(limit=query.limit, after=query.cursor or None)
    return page(request, "audit.html", {"page": entries})
