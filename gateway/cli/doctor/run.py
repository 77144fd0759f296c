"""All checks of a configuration, run side by side, each within a time: what `gateway doctor` says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.cli.doctor.store import inbox_findings
from gateway.cli.doctor.stripe_account import account_findings
from gateway.config.action_fields import fields_of
from gateway.config.action_settings import CompiledWith
from gateway.config.load import Config
from gateway.plugin import Action, ConnectionSettings, Finding, ProbeContext, ProbedUse, Reject, Retry
from gateway.plugin.types import duration_text

CHECK_SECONDS = 10.0
CLOSE_SECONDS = 2.0
INBOX = "inbox"


@dataclass(frozen=True, slots=True)
class Check:
    """What one thing outside is asked."""

    kind: str  # store, account, connection, action
    name: str
    findings: Callable[[], AsyncIterator[Finding]]


@dataclass(frozen=True, slots=True)
class Line:
    """One finding, and of which check it is."""

    kind: str
    name: str
    finding: Finding


def checks_of(config: Config, log: FilteringBoundLogger, seconds: float = CHECK_SECONDS) -> list[Check]:
    """The store, each account, each connection, and each action without a connection, in the order of the file."""
    checks = [Check("store", INBOX, partial(inbox_findings, config))]
    checks += [
        Check("account", account.name, partial(account_findings, config, account, seconds))
        for account in config.accounts.values()
    ]
    uses = _uses(config)
    for name, settings in config.connections.items():
        for action in _asked(config, name, settings, uses):
            checks.append(_probe(config, action, name, settings, uses.get((action.name, name), ()), log, seconds))
    for (uses_name, connection), places in uses.items():
        action = config.actions[uses_name]
        if connection is None and _has_probe(action):
            checks.append(_probe(config, action, None, None, places, log, seconds))
    return checks


async def examine(checks: Sequence[Check], seconds: float = CHECK_SECONDS) -> list[Line]:
    """Runs all checks at once; every finding, in the order of the checks. Raises nothing that a check raises."""
    results = await asyncio.gather(*(_run(check, seconds) for check in checks))
    return [
        Line(check.kind, check.name, finding)
        for check, findings in zip(checks, results, strict=True)
        for finding in findings
    ]


async def _run(check: Check, seconds: float) -> list[Finding]:
    findings: list[Finding] = []
    limit = asyncio.timeout(seconds)
    try:
        async with limit, contextlib.aclosing(check.findings()) as probed:  # type: ignore[type-var]  # a generator
            async for finding in probed:
                findings.append(finding)
    except TimeoutError:
        waited = f" within {duration_text(seconds)}" if limit.expired() else " in time"
        findings.append(
            Finding.bad(f"no answer{waited}", "look at the network, firewalls, and whether the other side is up")
        )
    except (Retry, Reject) as error:
        findings.append(Finding.bad(error.message, "see what the message says"))
    except OSError as error:
        findings.append(Finding.bad(error.strerror or str(error) or type(error).__name__, "look at the network"))
    except Exception as error:  # a third party's probe may fail in any way
        findings.append(Finding.bad(f"its probe failed: {type(error).__name__}: {error}", "tell the action's author"))
    return findings or [Finding.note("its action has no probe: nothing was looked at")]


# -- actions --------------------------------------------------------------------------------------------------


def _uses(config: Config) -> dict[tuple[str, str | None], tuple[ProbedUse, ...]]:
    """The uses of each pair of action and connection."""
    uses: dict[tuple[str, str | None], tuple[ProbedUse, ...]] = {}
    for route in config.routes:
        for use in route.actions:
            settings: CompiledWith = use.settings
            key = (use.uses, use.connection)
            uses[key] = (*uses.get(key, ()), ProbedUse(f"{route.name}.{use.name}", settings.known()))
    return uses


def _asked(
    config: Config, name: str, settings: ConnectionSettings, uses: Mapping[tuple[str, str | None], Any]
) -> Iterator[Action[Any]]:
    """The actions that look at a connection: those that use it; where nobody does, one that could."""
    able = [action for action in config.actions.values() if _takes(action, settings)]
    using = [action for action in able if (action.name, name) in uses]
    with_probe = [action for action in using or able if _has_probe(action)]
    yield from with_probe if using and with_probe else (with_probe or using or able)[:1]


def _takes(action: Action[Any], settings: ConnectionSettings) -> bool:
    return any(
        field.connection is not None and isinstance(settings, field.connection)
        for field in fields_of(action.Settings).values()
    )


def _has_probe(action: Action[Any]) -> bool:
    return type(action).probe is not Action.probe


def _probe(
    config: Config,
    action: Action[Any],
    name: str | None,
    settings: ConnectionSettings | None,
    uses: tuple[ProbedUse, ...],
    log: FilteringBoundLogger,
    seconds: float,
) -> Check:
    folder = str(config.folder)

    async def findings() -> AsyncIterator[Finding]:
        resource = await action.open(settings, folder)
        try:
            context = ProbeContext(settings, resource, uses, folder, seconds, lambda: datetime.now(UTC), log)
            async with contextlib.aclosing(action.probe(context)) as findings:  # type: ignore[type-var]  # a generator
                async for finding in findings:
                    yield finding
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await action.close(resource)

    return Check("action" if name is None else "connection", name or action.name, findings)


def masked(line: Line, mask: Callable[[str], str]) -> Line:
    """The same, with secrets taken out of what third parties and servers said."""
    finding = replace(line.finding, text=mask(line.finding.text), fix=mask(line.finding.fix))
    return replace(line, finding=finding)
