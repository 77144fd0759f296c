"""gateway forget: a customer's data is gone from the inbox and its files; duplicates stay duplicates."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.core.envelope import parse_event
from gateway.core.errors import UsageError
from gateway.core.internal_events import DELIVERY_DEAD, OwnEvent
from gateway.core.model import (
    Claim,
    DeliveryFilter,
    DeliveryState,
    Digest,
    Event,
    Fetched,
    Gathered,
    Refusal,
    RejectedFilter,
)
from gateway.delivery.digest import StoreGatherer, gathered_for
from gateway.privacy.erasure import Found, Naming, find, forget_event, forget_rejected, naming
from gateway.store.encoding.codec import BodyCodec
from gateway.store.encoding.store import with_codec
from gateway.store.encryption.keyring import Keyring
from gateway.store.postgres.store import PostgresStore
from gateway.store.postgres.sweep import LEFT_TO_DO
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.cli import CommandLine, Ran
from tests.contract.test_rejected import BOUNDS, a_rejected
from tests.contract.test_store import DEAD, SUCCEEDED, claim_all, later, owed, states

NOW = datetime(2026, 11, 24, tzinfo=UTC)
KEY = base64.b64encode(bytes(range(32))).decode()
EMAIL = "jo.needle@example.com"
OTHER = "kim.kept@example.com"
LONG = replace(BOUNDS, age_seconds=1e9)


def an_event_of(customer: str, email: str, event_id: str) -> Event:
    made = make_event("checkout.session.completed", object={"customer": customer})
    made["id"] = event_id
    made["data"]["object"]["customer_details"] = {"email": email, "filler": "x" * 9000}  # more than a page of the file
    return parse_event(json.dumps(made).encode(), "acme", NOW)


async def fill(store: Store) -> None:
    """Two customers' events, all that is kept of one in every place."""
    for customer, email, event_id in (("cus_Jo", EMAIL, "evt_jo"), ("cus_Jo2", OTHER, "evt_kim")):
        await store.add(an_event_of(customer, email, event_id), [owed("save", once=f"once {event_id}", order="o")])
        (claim,) = await claim_all(store)
        await store.keep_fetched(claim.delivery.run_id, Fetched("q", NOW, {"email": email}))
        failed = replace(later(0), attempt=replace(later(0).attempt, error=f"no such mailbox: {email}"))
        sent = replace(failed.attempt, exchanges=[{"sent": f"RCPT TO:<{email}>", "body": "w" * 2000}])
        failed = replace(failed, attempt=sent, rendered={"to": email, "x": "y" * 5000})
        assert await store.finish(claim.delivery.id, claim.token, failed)
        (claim,) = await claim_all(store)
        done = replace(SUCCEEDED, rendered={"to": email}, output={"to": email, "x": "z" * 5000})
        assert await store.finish(claim.delivery.id, claim.token, done)
        body = json.dumps({"data": {"object": {"customer": customer, "email": email}}}).encode()
        await store.keep_rejected([replace(a_rejected(f"rej_{event_id}"), body=body)], LONG)
    only_id = replace(an_event_of("cus_x", EMAIL, "evt_object"), body=b'{"id": "evt_object"}', object_id="cus_Jo")
    await store.add(only_id, [])


async def forget(
    store: Store, customer: str = "cus_Jo", *, cancel: bool = False
) -> tuple[Found, list[str], str | None]:
    who = naming(store, customer)
    found = await find(store, who, lambda seen: None)
    seqs = (*found.digests, *(seq for _, _, seq in found.events))
    results = [await forget_event(store, who, seq, cancel=cancel, now=NOW) for seq in seqs]
    await forget_rejected(store, who)
    return found, [result.reason for result in results if isinstance(result, Refusal)], await store.scrub()


@pytest.fixture(params=["sqlite", "encrypted", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Sequence[str]]:
    """A store's URL, or the path of its file, and its keys."""
    if request.param == "postgresql":
        return request.getfixturevalue("inbox_url"), []
    return str(tmp_path / "inbox.db"), [KEY] if request.param == "encrypted" else []


@pytest.fixture
async def inbox(place: tuple[str, Sequence[str]]) -> AsyncIterator[Store]:
    where, keys = place
    made: Store = PostgresStore(where) if "://" in where else SqliteStore(Path(where))
    await made.start()
    yield await with_codec(made, Keyring(keys), compresses=True, strict=True)
    await made.close()


async def test_all_that_names_a_customer_is_found_and_nobody_else_s(inbox: Store) -> None:
    await fill(inbox)
    found = await find(inbox, naming(inbox, "cus_Jo"), lambda seen: None)
    assert [event_id for _, event_id, _ in found.events] == ["evt_jo", "evt_object"]
    assert (found.deliveries, found.waiting, found.rejected) == (1, (), ("rej_evt_jo",))


async def test_what_a_customer_s_events_said_is_gone(inbox: Store) -> None:
    await fill(inbox)
    _, refused, _ = await forget(inbox)
    assert refused == []
    (event,) = await inbox.event("evt_jo")
    left = json.loads(event.body)
    assert left["data"] == {"object": {}}
    assert left["forgotten"] == "2026-11-24T00:00:00+00:00"
    assert (left["id"], left["type"], event.object_id) == ("evt_jo", "checkout.session.completed", None)
    one = next(d for d in await inbox.deliveries(DeliveryFilter(), limit=9) if d.event_id == "evt_jo")
    whole = await inbox.delivery(one.id)
    assert whole is not None
    delivery, attempts = whole
    assert (delivery.state, delivery.rendered, delivery.output) == (DeliveryState.SUCCEEDED, None, None)
    assert (delivery.last_error, delivery.once_key, delivery.order_key) == ("forgotten", "once evt_jo", None)
    assert [attempt.error for attempt in attempts] == ["forgotten", None]
    assert await inbox.fetched(delivery.run_id) is None
    assert [one.id for one in await inbox.rejected(RejectedFilter(), limit=9)] == ["rej_evt_kim"]
    (other,) = await inbox.event("evt_kim")
    assert OTHER.encode() in other.body
    assert (await find(inbox, naming(inbox, "cus_Jo"), lambda seen: None)).events == ()


async def test_a_duplicate_stays_a_duplicate_and_once_stays_done(inbox: Store) -> None:
    await fill(inbox)
    await forget(inbox)
    assert (await inbox.add(an_event_of("cus_Jo", EMAIL, "evt_jo"), [owed("save")])).is_duplicate
    await inbox.add(an_event_of("cus_New", OTHER, "evt_new"), [owed("save", once="once evt_jo")])
    assert await claim_all(inbox) == []
    assert (await states(inbox))["evt_new/save"] == "skipped"


async def test_what_is_still_owed_is_refused_or_cancelled(inbox: Store) -> None:
    await inbox.add(an_event_of("cus_Jo", EMAIL, "evt_jo"), [owed("save"), owed("ship", "save"), owed("tell")])
    claims = {claim.delivery.action: claim for claim in await claim_all(inbox)}
    assert await inbox.finish(claims["tell"].delivery.id, claims["tell"].token, DEAD)
    found, refused, _ = await forget(inbox, cancel=True)
    assert sorted(one.state for one in found.waiting) == ["blocked", "dead", "running"]
    assert refused == ["evt_jo: a delivery runs just now; forget again once it has ended"]
    assert await inbox.finish(claims["save"].delivery.id, claims["save"].token, later(60))
    _, refused, _ = await forget(inbox)
    assert refused == ["evt_jo: 3 of its deliveries are still owed, or dead letters"]
    assert EMAIL.encode() in (await inbox.event("evt_jo"))[0].body
    _, refused, _ = await forget(inbox, cancel=True)
    assert refused == []
    assert set((await states(inbox)).values()) <= {"cancelled", "skipped"}
    assert EMAIL.encode() not in (await inbox.event("evt_jo"))[0].body


NAME = "Jo Needle"
DIGEST = '["digest","fulfil","save"]'


def a_notice_of(event_id: str) -> Event:
    """The gateway's own event about a dead letter, in which the customer's id is not."""
    fields = {"account": "acme", "event": event_id, "reason": f"no such mailbox: {NAME}", "summary": f"dead: {NAME}"}
    return OwnEvent(DELIVERY_DEAD, "acme", (event_id,), NOW, fields).event()


async def a_digest(store: Store, *events: Event) -> Claim:
    """One digest that brings all of them, after an attempt that failed."""
    for event in events:
        await store.add(event, [owed(order=DIGEST)])
    (claim,) = await claim_all(store)
    gathered = await store.gather(claim.delivery.id, claim.token, wait_seconds=0, every_seconds=0, most=100)
    assert isinstance(gathered, Gathered)
    assert gathered.count == len(events)
    failed = replace(later(0), attempt=replace(later(0).attempt, error=f"refused: {NAME}"), rendered={"to": NAME})
    assert await store.finish(claim.delivery.id, claim.token, failed)
    return claim


async def left_of(store: Store) -> list[str]:
    """The events that the digest brings at its next attempt."""
    (claim,) = await claim_all(store)
    gathered = await gathered_for(claim, Digest(0.0, 0.0), StoreGatherer(store))
    assert isinstance(gathered, Gathered)
    assert gathered.count == len(gathered.events)
    return [event.id for event in gathered.events]


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_digest_goes_on_without_the_lines_of_whom_is_forgotten(inbox: Store, is_first: bool) -> None:
    jo, kim = an_event_of("cus_Jo", EMAIL, "evt_jo"), an_event_of("cus_Kim", OTHER, "evt_kim")
    events = [jo, kim] if is_first else [kim, jo]
    claim = await a_digest(inbox, *events, a_notice_of("evt_jo"), a_notice_of("evt_kim"))
    found, refused, _ = await forget(inbox)
    assert refused == []
    assert found.waiting == ()
    assert [event_id for _, event_id, _ in found.events] == ["evt_jo", a_notice_of("evt_jo").id]
    whole = await inbox.delivery(claim.delivery.id)
    assert whole is not None
    assert (whole[0].state, whole[0].rendered, whole[0].last_error) == (DeliveryState.PENDING, None, "forgotten")
    assert [attempt.error for attempt in whole[1]] == ["forgotten"]
    assert OTHER.encode() in (await inbox.event("evt_kim"))[0].body
    assert NAME.encode() not in (await inbox.event(a_notice_of("evt_jo").id))[0].body
    assert await left_of(inbox) == ["evt_kim", a_notice_of("evt_kim").id]


async def test_a_digest_that_brings_nobody_else_is_owed_for_whom_is_forgotten(inbox: Store) -> None:
    await a_digest(inbox, an_event_of("cus_Jo", EMAIL, "evt_jo"), a_notice_of("evt_jo"))
    found, refused, _ = await forget(inbox)
    assert ([one.event_id for one in found.waiting], len(refused)) == (["evt_jo"], 1)
    assert (await forget(inbox, cancel=True))[1] == []
    assert set((await states(inbox)).values()) == {"cancelled", "skipped"}


async def test_nobody_is_forgotten_beside_a_customer_whom_a_digest_names_too(inbox: Store) -> None:
    claim = await a_digest(inbox, an_event_of("cus_Kim", OTHER, "evt_kim"), an_event_of("cus_Jo", EMAIL, "evt_jo"))
    (again,) = await claim_all(inbox)
    done = replace(SUCCEEDED, rendered={"text": "cus_Kim paid; cus_Jo paid"})
    assert await inbox.finish(claim.delivery.id, again.token, done)
    found, refused, _ = await forget(inbox)
    assert ([event_id for _, event_id, _ in found.events], refused) == (["evt_jo"], [])
    whole = await inbox.delivery(claim.delivery.id)
    assert whole is not None
    assert whole[0].rendered is None
    assert OTHER.encode() in (await inbox.event("evt_kim"))[0].body


async def test_the_bytes_are_gone_from_the_files(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "inbox.db")
    await store.start()
    await fill(store)
    assert EMAIL.encode() in _bytes(tmp_path)
    _, _, left = await forget(store)
    assert left is None
    assert EMAIL.encode() not in _bytes(tmp_path)  # while the store is open, its log included
    assert OTHER.encode() in _bytes(tmp_path)
    await store.close()
    assert EMAIL.encode() not in _bytes(tmp_path)


def _bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("inbox.db*"))


async def test_postgresql_says_what_is_left_to_its_operator(inbox_url: str) -> None:
    store = PostgresStore(inbox_url)
    await store.start()
    await fill(store)
    assert (await forget(store))[2] == LEFT_TO_DO
    await store.close()


@pytest.mark.parametrize("text", ["", "jo@example.com", "cus_", "cus_a'; DROP", "cus_.*"])
def test_what_is_no_customer_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no customer's id; expected cus_"):
        Naming(text, BodyCodec(Keyring([]), compresses=False))


CONFIG = """\
version: 1
store: {url: "sqlite:///inbox.db"}
accounts: {acme: {signing_secrets: [whsec_x]}}
connections: {shop: {type: database, url: "sqlite:///shop.db"}}
routes:
  fulfil: {events: ["*"], actions: {save: {uses: db_upsert, with: {connection: shop, table: t, key: {id: "{{ object.id }}"}, values: {}}}}}
"""  # noqa: E501


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    line = CommandLine(monkeypatch, capsys)
    return lambda *words: line("--config", tmp_path / "gateway.yaml", *words)


def _filled(tmp_path: Path, *, pending: bool = False) -> None:
    async def work() -> None:
        store = SqliteStore(tmp_path / "inbox.db")
        await store.start()
        await fill(store)
        if pending:
            await store.add(an_event_of("cus_Jo", EMAIL, "evt_pending"), [owed("save")])
        await store.close()

    asyncio.run(work())


def test_the_command_shows_its_plan_erases_and_says_what_it_does_not_reach(
    tmp_path: Path, command: Callable[..., Ran]
) -> None:
    _filled(tmp_path)
    planned = command("forget", "cus_Jo", "--dry-run")
    assert planned.out == "would erase 2 events, 1 deliveries, 1 rejected requests\n"
    done = command("forget", "cus_Jo", "--yes")
    assert done.code == 0, done.err
    assert done.out == (
        "2 events, 1 deliveries, 1 rejected requests:\n  acme/evt_jo\n  acme/evt_object\n"
        "erased 2 events, 1 deliveries, 1 rejected requests\n"
        "What left the gateway before (databases, mails, forwards, messages, logs, backups) is not reached by this.\n"
    )
    assert EMAIL.encode() not in _bytes(tmp_path)
    assert command("forget", "cus_Jo").out == "nothing in the inbox names cus_Jo\n"
    replayed = command("events", "replay", "evt_jo")
    assert replayed.err == ("evt_jo was forgotten (`gateway forget`): there is nothing left to replay\n")


def test_the_command_refuses_what_is_owed_unless_told_to_cancel(tmp_path: Path, command: Callable[..., Ran]) -> None:
    _filled(tmp_path, pending=True)
    refused = command("forget", "cus_Jo", "--yes")
    assert refused.code == 1
    assert "(save, pending).\nWithout the event they can never run. Let them end first, or say --cancel.\n" in (
        refused.err
    )
    assert EMAIL.encode() in _bytes(tmp_path)
    done = command("forget", "cus_Jo", "--yes", "--cancel")
    assert done.code == 0, done.err
    assert EMAIL.encode() not in _bytes(tmp_path)
