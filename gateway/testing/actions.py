"""Runs one action once with rendered values, and its probe."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from gateway.plugin import Action, Context, Finding, ProbeContext, ProbedUse, Unrendered
from gateway.testing.events import make_event


def _now() -> datetime:
    return datetime.now(UTC)


async def run_action(
    action: Action[Any],
    settings: Mapping[str, Any],
    *,
    connection: Any = None,
    event: Mapping[str, Any] | None = None,
    delivery_id: str = "dlv_test",
    attempt: int = 1,
    attempts_left: int = 0,
    base_folder: str = ".",
    now: Callable[[], datetime] = _now,
) -> Mapping[str, Any] | None:
    """Runs an action once on values that are rendered already, and returns its output. Raises what the action raises;
    what the gateway would make of that is told by a Trial.
    """
    envelope = event if event is not None else make_event()
    resource = await action.open(connection, base_folder)
    try:
        context = Context(
            delivery_id=delivery_id,
            attempt=attempt,
            account="acme",
            route="test",
            action=action.name,
            event=envelope,
            body=json.dumps(envelope).encode(),
            connection=connection,
            resource=resource,
            timeout_seconds=30.0,
            now=now,
            log=structlog.get_logger(),
            base_folder=base_folder,
            attempts_left=attempts_left,
        )
        return await action.run(action.Settings.model_validate(settings), context)
    finally:
        await action.close(resource)


async def probe_action(
    action: Action[Any],
    *uses: Mapping[str, Any],
    connection: Any = None,
    base_folder: str = ".",
    now: Callable[[], datetime] = _now,
) -> list[Finding]:
    """What an action's probe finds, as `gateway doctor` would ask. `uses` are the `with` of its uses, as written; they
    are called `test.1`, `test.2`, ... Raises what the probe raises.
    """
    resource = await action.open(connection, base_folder)
    try:
        probed = tuple(ProbedUse(f"test.{i}", _unrendered(given)) for i, given in enumerate(uses, 1))
        context = ProbeContext(connection, resource, probed, base_folder, 10.0, now, structlog.get_logger())
        return [finding async for finding in action.probe(context)]
    finally:
        await action.close(resource)


def _unrendered(part: Any) -> Any:
    if isinstance(part, str):
        return Unrendered(part) if "{{" in part or "{%" in part else part
    if isinstance(part, Mapping):
        return {key: _unrendered(value) for key, value in part.items()}
    return [_unrendered(value) for value in part] if isinstance(part, list) else part
