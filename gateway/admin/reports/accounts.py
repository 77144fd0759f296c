"""Accounts: when each was last heard of, in which versions of Stripe's API, by how many secrets, and what drifts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from gateway.admin.api.schemas import Shown
from gateway.admin.request import AdminParts
from gateway.config.load import Config
from gateway.core.internal_events import is_own
from gateway.core.model import Account, Event, EventFilter
from gateway.core.routing import names

LOOKED_AT = 200  # of an account's events, the newest
MOST_TYPES = 10
_FILE = re.compile(r"\$\{file:(.+)\}")


class VersionSeen(Shown):
    """A version of Stripe's API that events came in."""

    version: str | None = Field(description="null: events that name none, such as thin ones.")
    count: int
    last_at: datetime
    differs_from: str | None = Field(description="The version that templates are written for, where other.")


class AccountReport(Shown):
    """One account."""

    name: str
    path: str = Field(description="Where Stripe posts its events.")
    livemode: bool | None = Field(description="The mode that is taken; null: both.")
    api_version: str | None = Field(description="That templates are written for.")
    has_api_key: bool
    secrets: int = Field(description="Signing secrets; several while one is being rolled.")
    secrets_changed_at: list[datetime] = Field(description="Of those that come from files, the newest first.")
    last_event_at: datetime | None
    looked_at: int = Field(description=f"Its newest events, {LOOKED_AT} at most, of which the rest tells.")
    versions: list[VersionSeen]
    unrouted: dict[str, int] = Field(description="Types among them that no route wants, with how many there were.")


async def accounts(parts: AdminParts) -> list[AccountReport]:
    """Every account of the configuration."""
    config, last = parts.gateway.config, await parts.store.last_events()
    reports = []
    for account in config.accounts.values():
        page = await parts.store.event_page(EventFilter(accounts=(account.name,)), limit=LOOKED_AT)
        events = [event for event in page.items if not is_own(event.type)]
        reports.append(
            AccountReport(
                name=account.name,
                path=f"/webhooks/{account.name}",
                livemode=account.livemode,
                api_version=account.api_version,
                has_api_key=bool(account.api_key),
                secrets=len(account.signing_secrets),
                secrets_changed_at=await asyncio.to_thread(_changed, config, account),
                last_event_at=last.get(account.name),
                looked_at=len(events),
                versions=_versions(events),
                unrouted=_unrouted(config, account.name, events),
            )
        )
    return reports


def _versions(events: Sequence[Event]) -> list[VersionSeen]:
    seen: dict[str | None, VersionSeen] = {}
    for event in events:  # the newest first
        known = seen.setdefault(
            event.api_version,
            VersionSeen(version=event.api_version, count=0, last_at=event.received_at, differs_from=event.written_for),
        )
        known.count += 1
    return list(seen.values())


def _unrouted(config: Config, account: str, events: Sequence[Event]) -> dict[str, int]:
    patterns = [
        pattern
        for route in config.routes
        if route.accounts is None or account in route.accounts
        for pattern in route.events
    ]
    counts: dict[str, int] = {}
    for event in events:
        if not any(names(pattern, event.type) for pattern in patterns):
            counts[event.type] = counts.get(event.type, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: -pair[1])[:MOST_TYPES])


def _changed(config: Config, account: Account) -> list[datetime]:
    """When the files that secrets come from were last written."""
    times = []
    for secret in account.signing_secrets:
        match = _FILE.fullmatch(config.hidden.get(secret, ""))
        path = None if match is None else Path(config.folder, match[1])
        if path is not None and path.is_file():
            times.append(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    return sorted(times, reverse=True)
