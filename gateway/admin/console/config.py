"""The configuration in force, as a picture and as text; what was read before; who changed what."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from aiohttp import web

from gateway.admin.api.schemas import Cut
from gateway.admin.console.charts import Box
from gateway.admin.console.forms import checked
from gateway.admin.console.render import page
from gateway.admin.reports import overview
from gateway.admin.request import AdminParts, parts
from gateway.config.load import Config
from gateway.config.secrets.masked_yaml import masked_files
from gateway.core.internal_events import is_own


async def show(request: web.Request) -> web.StreamResponse:
    """Everything about the configuration."""
    admin = parts(request)
    gateway = admin.gateway
    columns, arrows = picture(gateway.config, await _states(admin))
    context = {
        "config": gateway.config,
        "files": await asyncio.to_thread(masked_files, gateway.config),
        "columns": columns,
        "arrows": arrows,
        "reloads": gateway.reloads(),
    }
    return page(request, "config.html", context)


States = Mapping[str, tuple[str, str]]
"""How a box stands: its kind, and what is said beside its name; by the box's key."""


async def _states(admin: AdminParts) -> dict[str, tuple[str, str]]:
    """How accounts, actions and connections stand."""
    config, lanes, last = admin.gateway.config, await admin.store.lane_states(), await admin.store.last_events()
    states = {f"account {name}": ("silent", "no event yet") for name in config.accounts if name not in last}
    counts: dict[str, Counter[str]] = {}
    for lane in lanes:
        counts.setdefault(f"action {lane.lane.route}/{lane.lane.action}", Counter()).update(lane.counts)
    for key, by_state in counts.items():
        kind = next((word for word in ("dead", "running", "pending", "blocked") if by_state[word]), None)
        if kind is not None:
            states[key] = (kind, f"{by_state[kind]:,} {kind}")
    for connection in await overview.connections(admin):
        if connection.state != "ok":
            states[f"connection {connection.name}"] = (connection.state, connection.state)
    return states


def _box(key: str, text: str, kind: str, states: States, href: str | None = None) -> Box:
    state, words = states.get(key, (kind, ""))
    return Box(key, f"{text} ({words})" if words else text, state, href)


def picture(config: Config, states: States = MappingProxyType({})) -> tuple[list[list[Box]], list[tuple[str, str]]]:
    """Accounts, event patterns, each route's actions along `needs`, connections, as they stand; and the arrows between
    them.
    """
    accounts = [_box(f"account {name}", name, "account", states, "/accounts") for name in config.event_accounts]
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
            steps[depth].append(_box(key, f"{route.name}/{action.name}", "action", states, href))
            arrows += [(f"action {route.name}/{need}", key) for need in action.needs]
            if not action.needs:
                arrows += [(f"event {pattern}", key) for pattern in route.events]
            if action.connection is not None:
                arrows.append((key, f"connection {action.connection}"))
    connections = [
        _box(f"connection {name}", name, "connection", states, "/connections") for name in config.connections
    ]
    return [accounts, list(patterns.values()), *steps, connections], arrows


async def audit(request: web.Request) -> web.StreamResponse:
    """Who asked for what."""
    query = checked(request.query, Cut)
    entries = await parts(request).store.audit(limit=query.limit, after=query.cursor or None)
    return page(request, "audit.html", {"page": entries})
