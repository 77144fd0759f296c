"""What is redacted in the lines of a digest, and in the gateway's own events, is hidden as each line's account asks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
import structlog

from gateway.config.load import Config
from gateway.core.envelope import parse_event
from gateway.core.internal_events import DELIVERY_DEAD, OwnEvent
from gateway.core.model import AttemptOutcome, Claim, Delivery, DeliveryState, Event, Finish, PlannedDelivery
from gateway.core.routing import RouteTable, digest_key
from gateway.delivery.attempt import FORGOTTEN, AttemptContext, run_attempt
from gateway.delivery.digest import StoreGatherer
from gateway.delivery.fetch import Fetcher
from gateway.delivery.resources import Resources
from gateway.plugin import Action, Context, Reject, Settings
from gateway.privacy.erasure import find, forget_event, naming
from gateway.privacy.views import shown_deliveries, shown_delivery, shown_event
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.configs import loaded
from tests.contract.test_store import SUCCEEDED, claim_all

NOW = datetime(2026, 11, 24, tzinfo=UTC)
HEAD = """\
version: 1
accounts:
  acme: {signing_secrets: [whsec_topsecret1], redact: [data.object.customer_details]}
  other: {signing_secrets: [whsec_topsecret2], redact: [data.object.metadata.nick]}
connections:
  warehouse: {type: http, url: "https://warehouse.example/hooks"}
"""
ROUTES = """\
routes:
  tell:
    events: ["*", "gateway.*"]
    digest: {every: 1ms, wait: 0s}
    actions:
      post:
        uses: http_forward
        with: {connection: warehouse, body: {lines: "{{ events | length }}", id: "{{ object.id }}"}}
"""


class Answers(Action[Any]):
    """Refuses everything, with the whole of it in its words."""

    name: ClassVar[str] = "answers"
    Settings: ClassVar[type[Settings]] = Settings

    async def run(self, settings: Any, context: Context) -> Mapping[str, Any] | None:
        raise Reject(f"refused: {context.body.decode()}")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    inbox = SqliteStore(tmp_path / "inbox.db")
    await inbox.start()
    yield inbox
    await inbox.close()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return loaded(tmp_path, ROUTES, HEAD)


def event_of(account: str, event_id: str, name: str, nick: str, customer: str = "cus_A") -> Event:
    envelope = make_event(object={"customer_details": {"name": name}, "metadata": {"nick": nick}, "customer": customer})
    envelope["id"] = event_id
    return parse_event(json.dumps(envelope).encode(), account, NOW)


def notice_of(event: Event, reason: str) -> Event:
    fields = {"account": event.account, "event": event.id, "reason": reason, "summary": f"dead: {reason}"}
    return OwnEvent(DELIVERY_DEAD, event.account, (event.id,), NOW, fields).event()


async def digest_of(store: SqliteStore, *events: Event) -> Claim:
    for event in events:
        await store.add(event, [PlannedDelivery("tell", "post", (), None, digest_key("tell", "post"))])
    (claim,) = await claim_all(store)
    return claim


async def attempted(config: Config, store: SqliteStore, claim: Claim) -> Finish:
    log = structlog.get_logger()
    resources = Resources(lambda *_: True, log)
    answering = replace(config, actions=dict.fromkeys(config.actions, Answers()))
    fetcher: Fetcher = object()  # type: ignore[assignment]  # this route fetches nothing
    gatherer = StoreGatherer(store)
    context = AttemptContext(
        answering, RouteTable(config.routes), resources, fetcher, Random(0), log, gatherer=gatherer
    )
    result = await run_attempt(claim, context)
    await resources.close()
    assert isinstance(result.ending, Finish)
    return result.ending


ANN = event_of("acme", "evt_ann", "Ann Acme", "annie")
BEN = event_of("other", "evt_ben", "Ben Other", "benny")


async def test_an_error_of_a_digest_hides_each_line_as_its_account_asks(config: Config, store: SqliteStore) -> None:
    ending = await attempted(config, store, await digest_of(store, ANN, BEN))
    assert ending.attempt.outcome is AttemptOutcome.DEAD
    assert ending.reason is not None
    assert ("Ann Acme" in ending.reason, "annie" in ending.reason) == (False, True)
    assert ("Ben Other" in ending.reason, "benny" in ending.reason) == (True, False)


async def test_what_is_hidden_is_hidden_before_an_error_is_cut(config: Config, store: SqliteStore) -> None:
    long = event_of("acme", "evt_long", "Longname" * 1000, "nick")
    error = (await attempted(config, store, await digest_of(store, long))).attempt.error
    assert error is not None
    assert "[redacted]" in error
    assert "Longname" not in error


async def test_a_digest_is_shown_with_each_line_hidden_as_its_account_asks(config: Config, store: SqliteStore) -> None:
    claim = await digest_of(store, ANN, BEN, notice_of(BEN, "no mailbox of benny"))
    await store.gather(claim.delivery.id, claim.token, wait_seconds=0, every_seconds=0, most=100)
    words = "Ann Acme (annie), Ben Other (benny)"
    done = replace(SUCCEEDED, rendered={"text": words}, reason=words)
    assert await store.finish(claim.delivery.id, claim.token, done)
    whole = await store.delivery(claim.delivery.id)
    assert whole is not None
    shown, _ = await shown_delivery(store, *whole, config.redactions)
    assert shown.rendered == {"text": "[redacted] (annie), Ben Other ([redacted])"}
    listed: list[Delivery] = await shown_deliveries(store, [whole[0]], config.redactions)
    assert listed[0].reason == shown.reason == "[redacted] (annie), Ben Other ([redacted])"


async def test_an_own_event_is_shown_without_what_the_event_that_it_tells_of_hides(
    config: Config, store: SqliteStore
) -> None:
    notice = notice_of(ANN, "no mailbox of Ann Acme (annie)")
    await store.add(ANN, [])
    claim = await digest_of(store, notice)
    shown = json.loads((await shown_event(store, notice, config.redactions)).body)
    assert shown["data"]["object"]["reason"] == "no mailbox of [redacted] (annie)"
    done = replace(SUCCEEDED, rendered={"text": "dead: no mailbox of Ann Acme (annie)"})
    assert await store.finish(claim.delivery.id, claim.token, done)
    whole = await store.delivery(claim.delivery.id)
    assert whole is not None
    shown_one, _ = await shown_delivery(store, *whole, config.redactions)
    assert shown_one.rendered == {"text": "dead: no mailbox of [redacted] (annie)"}


async def test_a_digest_whose_own_event_was_forgotten_goes_out_with_the_others(
    config: Config, store: SqliteStore
) -> None:
    forgotten = event_of("acme", "evt_gone", "Jo Needle", "jo", "cus_Gone")
    claim = await digest_of(store, forgotten, BEN)
    await store.gather(claim.delivery.id, claim.token, wait_seconds=0, every_seconds=0, most=100)
    pending = Finish(DeliveryState.PENDING, SUCCEEDED.attempt, wait_seconds=0)
    assert await store.finish(claim.delivery.id, claim.token, pending)
    who = naming(store, "cus_Gone")
    found = await find(store, who, lambda seen: None)
    for _, _, seq in found.events:
        await forget_event(store, who, seq, cancel=False, now=NOW)
    (claim,) = await claim_all(store)
    ending = await attempted(config, store, claim)
    assert ending.reason is not None
    assert "Ben Other" in ending.reason
    assert "Needle" not in ending.reason
    assert ending.rendered["body"]["lines"] == 1


async def test_a_digest_of_nothing_but_what_was_forgotten_is_dead(config: Config, store: SqliteStore) -> None:
    claim = await digest_of(store, replace(ANN, body=b'{"id": "evt_ann", "object": "event", "forgotten": "now"}'))
    assert (await attempted(config, store, claim)).reason == FORGOTTEN
