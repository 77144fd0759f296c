"""What no gateway knows any more waits for ten minutes, whatever a clock said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog

from gateway.core.model import Claim, Finish, Released
from gateway.core.routing import RouteTable
from gateway.delivery.attempt import AttemptContext, run_attempt
from gateway.delivery.resources import Resources
from gateway.store.sqlite.store import SqliteStore
from tests.configs import loaded
from tests.contract.test_store import an_event, claim_all, owed

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)


async def ending(folder: Path, claim: Claim, now: datetime) -> Any:
    log = structlog.get_logger()
    fetcher: Any = None  # it is asked nothing
    config = loaded(folder)
    resources = Resources(lambda *_: True, log)
    attempts = AttemptContext(config, RouteTable(config.routes), resources, fetcher, Random(0), log, now=lambda: now)
    return (await run_attempt(claim, attempts)).ending


@pytest.mark.parametrize("first", [NOW, NOW + timedelta(days=400)])
async def test_it_waits_from_the_first_time_or_from_now(tmp_path: Path, store: SqliteStore, first: datetime) -> None:
    await store.add(an_event(), [owed()])
    moments = [first, NOW, NOW + timedelta(minutes=9), NOW + timedelta(minutes=11)]
    endings = []
    for moment in moments:
        (claim,) = await claim_all(store)
        endings.append(await ending(tmp_path, claim, moment))
        if isinstance(endings[-1], Released):
            await store.finish(claim.delivery.id, claim.token, Released(endings[-1].reason))
    assert [type(one) for one in endings] == [Released, Released, Released, Finish]
    assert endings[1].reason == endings[2].reason == f"waits for route fulfil since {NOW.isoformat()}"
