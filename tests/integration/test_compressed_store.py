"""store.compress on both stores: small on the disk and whole when read; `gateway db compact`; a damaged row."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import asyncpg
import pytest

from gateway.core.errors import StoreUnavailable
from gateway.core.model import DONE, DeliveryState, Digest, Event, EventFilter, Fetched, Finish
from gateway.core.routing import digest_key
from gateway.delivery.attempt_errors import AttemptError
from gateway.delivery.digest import StoreGatherer
from gateway.store import open_store
from gateway.store.copy import copy_store
from gateway.store.encoding import store as encoding_store
from gateway.store.encoding.codec import BodyCodec
from gateway.store.encoding.compression import BODIES, MARK, VALUES
from gateway.store.encoding.recode import COMPACTED, STEP, Recoded, RecodeProgress, compact_all, seal_all
from gateway.store.encoding.store import EncodedStore, used_keys, with_codec
from gateway.store.encryption.keyring import Keyring
from gateway.store.migrations.runner import HEAD, OLDEST
from gateway.store.postgres.store import PostgresStore
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.cli import StoreCommands
from tests.contract.test_rejected import BOUNDS, a_rejected
from tests.contract.test_store import SUCCEEDED, an_event, claim_all, owed, states
from tests.integration.test_encrypted_store import KEY
from tests.waiting import HANG_SECONDS

OLDER_KEY = base64.b64encode(b"o" * 32).decode()
Sweep = Callable[[Store, Keyring, RecodeProgress], Awaitable[Recoded]]
LONG = replace(BOUNDS, age_seconds=1e9)
NOW = datetime(2026, 11, 24, tzinfo=UTC)
BODY = json.dumps(make_event("invoice.paid", id="evt_1"), indent=2).encode()
OUTPUT = {"status": 200, "headers": {"server": "nginx", "content-type": "text/plain"}, "body": "thank you " * 9}
RENDERED = {"subject": "Your order", "text": "Thank you, Zoë: it is on its way. " * 3}
FETCHED = make_event("invoice.paid")["data"]["object"]
TEXT = "jenny@example.com"


@pytest.fixture
async def inbox(store_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    """A started store with nothing in front."""
    store = open_store(store_url, tmp_path)
    await store.start()
    yield store
    await store.close()


def encoded(store: Store, *keys: str, compresses: bool = True) -> Store:
    return cast(Store, EncodedStore(store, BodyCodec(Keyring(keys), compresses=compresses)))


def event_with_body(event_id: str = "evt_1") -> Event:
    return replace(an_event(event_id), body=BODY.replace(b"evt_1", event_id.encode()))


async def fill(store: Store, event_id: str = "evt_1") -> str:
    """An event with everything that is kept of one; its delivery's id."""
    await store.add(event_with_body(event_id), [owed("save")])
    (claim,) = await claim_all(store)
    await store.keep_fetched(claim.delivery.run_id, Fetched("q", NOW, FETCHED))
    assert isinstance(SUCCEEDED, Finish)
    done = replace(SUCCEEDED, rendered=RENDERED, output=OUTPUT)
    assert await store.finish(claim.delivery.id, claim.token, done)
    await store.keep_rejected([replace(a_rejected(f"rej_{event_id}"), body=BODY)], LONG)
    return claim.delivery.id


async def assert_whole(store: Store, delivery_id: str, event_id: str = "evt_1") -> None:
    (event,) = await store.event(event_id)
    assert event.body == event_with_body(event_id).body
    delivery, _ = await store.delivery(delivery_id) or pytest.fail("no delivery")
    assert (delivery.rendered, delivery.output) == (RENDERED, OUTPUT)
    fetched = await store.fetched(delivery.run_id)
    assert fetched is not None
    assert fetched.object == FETCHED
    request = await store.rejected_request(f"rej_{event_id}")
    assert request is not None
    assert request.body == BODY


async def dictionaries_in_use(store: Store) -> list[int]:
    """The numbers with which an event's body, rendered value, output and fetched object are kept; 0: as they are."""
    (event,) = (await store.contents(0, limit=1)).items
    (delivery,) = event.deliveries
    decoded = BodyCodec(Keyring(()), compresses=False)
    numbers = [event.body[len(MARK)] if event.body.startswith(MARK) else 0]
    for text in (delivery.rendered, delivery.output, json.dumps(json.loads(delivery.fetched or "[0, 0, 0]")[2])):
        kept = json.loads(text or "null")
        numbers.append(VALUES if decoded.decode_value(kept) != kept else 0)
    return numbers


async def test_all_of_an_event_is_kept_compressed_and_read_as_it_was(inbox: Store) -> None:
    store = encoded(inbox)
    done = await fill(store)
    await assert_whole(store, done)
    assert await dictionaries_in_use(inbox) == [BODIES, VALUES, VALUES, VALUES]


async def test_what_is_stored_as_it_is_stays_readable_beside_and_is_found_as_the_rest_is(inbox: Store) -> None:
    plain = await fill(encoded(inbox, compresses=False))
    assert await dictionaries_in_use(inbox) == [0, 0, 0, 0]
    store = encoded(inbox)
    packed = await fill(store, "evt_2")
    await store.add(replace(an_event("evt_3"), body=b'{"id": "evt_3"}'), [])
    await assert_whole(store, plain)
    await assert_whole(store, packed, "evt_2")
    for where in (EventFilter(text=TEXT), EventFilter(text=TEXT, object_id="in_1")):
        page = await store.event_page(where, limit=5)
        assert [event.id for event in page.items] == ["evt_2", "evt_1"]
        first = await store.event_page(where, limit=1)
        rest = await store.event_page(where, limit=1, after=first.next)
        assert [event.id for event in (*first.items, *rest.items)] == ["evt_2", "evt_1"]
        assert [event.id for event in await store.events(where, limit=1)] == ["evt_2"]


@pytest.mark.parametrize("keys", [(), (KEY,)])
async def test_compact_rewrites_what_there_is_once_and_leaves_it_as_it_reads(
    inbox: Store, keys: tuple[str, ...]
) -> None:
    before = await with_codec(inbox, Keyring(keys), compresses=False, strict=True)
    done = await fill(before)
    seen: list[int] = []
    assert (await compact_all(inbox, Keyring(keys), seen.append)).changed == 2
    assert seen == [1]
    await assert_whole(before, done)
    if not keys:
        assert await dictionaries_in_use(inbox) == [BODIES, VALUES, VALUES, VALUES]
    assert (await compact_all(inbox, Keyring(keys), seen.append)).changed == 0


@pytest.mark.parametrize("before", [(), (OLDER_KEY,)], ids=["nothing", "an older key"])
async def test_compact_seals_nothing_with_a_key_that_the_gateway_at_work_may_not_know(
    inbox: Store, before: tuple[str, ...]
) -> None:
    at_work = await with_codec(inbox, Keyring(before), compresses=False, strict=True)
    done = await fill(at_work)
    assert (await compact_all(inbox, Keyring([KEY, *before]), lambda seen: None)).changed == 2
    await assert_whole(at_work, done)


@pytest.mark.parametrize("sweep", [compact_all, seal_all])
async def test_what_is_damaged_is_told_and_holds_up_no_others(inbox: Store, sweep: Sweep) -> None:
    store = await with_codec(inbox, Keyring([OLDER_KEY]), compresses=False, strict=True)
    for event_id in ("evt_1", "evt_2"):
        await fill(store, event_id)
    [event] = (await inbox.contents(0, limit=1)).items
    assert await inbox.replace_contents(event, replace(event, body=event.body[:-1] + b"?"))
    done = await sweep(inbox, Keyring([KEY, OLDER_KEY]), lambda seen: None)
    assert (done.events, done.changed, len(done.damaged)) == (2, 3, 1)  # of evt_1 the rejected request alone
    assert "evt_1" in done.damaged[0]
    assert (await used_keys(inbox))[0] == Keyring([OLDER_KEY]).ids[0]  # it may yet be mended: its key is wanted


async def test_a_compact_that_is_broken_off_goes_on_where_it_was(inbox: Store) -> None:
    for number in range(STEP + 1):
        await inbox.add(event_with_body(f"evt_{number}"), [])

    def break_off(seen: int) -> None:
        if seen > STEP:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await compact_all(inbox, Keyring(()), break_off)
    note = await inbox.note(COMPACTED)
    assert note is not None
    assert note.value == {"after": (await inbox.contents(0, limit=STEP)).next}
    seen: list[int] = []
    await compact_all(inbox, Keyring(()), seen.append)
    assert seen == [1]
    assert await inbox.note(COMPACTED) is None


async def test_a_damaged_body_is_a_dead_letter_that_says_so_and_holds_up_nobody(inbox: Store) -> None:
    store = encoded(inbox)
    for event_id in ("evt_1", "evt_2"):
        await store.add(event_with_body(event_id), [owed("save")])
    (kept, _) = (await inbox.contents(0, limit=2)).items
    assert await inbox.replace_contents(kept, replace(kept, body=kept.body[:-9]))
    (claim,) = await claim_all(store)
    assert claim.event.id == "evt_2"
    assert (await states(store))["evt_1/save"] == DeliveryState.DEAD
    delivery, _ = await store.delivery(kept.deliveries[0].id) or pytest.fail("no delivery")
    assert delivery.last_error == (
        "what is stored of event acme evt_1 does not decompress: it is damaged; restore it from a backup"
    )
    (damaged,) = (await inbox.contents(0, limit=1)).items
    assert await inbox.replace_contents(damaged, replace(damaged, body=kept.body))
    assert await store.retry([delivery.id]) == {delivery.id: DONE}
    assert [claim.event.body for claim in await claim_all(store)] == [BODY]


async def test_a_damaged_body_that_cannot_be_recorded_loses_nothing_that_was_claimed_beside_it(
    inbox: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = encoded(inbox)
    for event_id in ("evt_1", "evt_2"):
        await store.add(event_with_body(event_id), [owed("save")])
    (kept,) = (await inbox.contents(0, limit=1)).items
    assert await inbox.replace_contents(kept, replace(kept, body=kept.body[:-9]))

    async def full(*_: object) -> bool:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(inbox, "finish", full)
    assert [claim.event.id for claim in await claim_all(store)] == ["evt_2"]


async def test_a_digest_that_brings_a_damaged_body_is_a_dead_letter_that_says_so(inbox: Store) -> None:
    store = encoded(inbox)
    for event_id in ("evt_1", "evt_2"):
        await store.add(event_with_body(event_id), [owed("save", order=digest_key("fulfil", "save"))])
    (_, kept) = (await inbox.contents(0, limit=2)).items
    assert await inbox.replace_contents(kept, replace(kept, body=kept.body[:-9]))
    (claim,) = await claim_all(store)
    with pytest.raises(AttemptError, match="event acme evt_2 does not decompress") as told:
        await StoreGatherer(store).gather(claim, Digest(0.0, 0.0))
    assert told.value.is_final


async def test_intake_asks_whether_to_compress_behind_no_listing(
    inbox_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding_store, "_ASKED_AGAIN_SECONDS", 0.0)
    connection = await asyncpg.connect(inbox_url)
    await connection.execute("UPDATE gateway.facts SET value = $1 WHERE name = 'oldest_program'", OLDEST)
    await connection.close()
    opened = PostgresStore(inbox_url)
    await opened.start()
    store = await with_codec(opened, Keyring(()), compresses=True, strict=True)
    async with opened._people._lock:  # as while it waits for a listing
        await asyncio.wait_for(store.add(an_event(), []), HANG_SECONDS)
    await opened.close()


async def test_a_copy_into_a_schema_that_version_0_1_made_keeps_its_gateways_off(
    inbox_url: str, tmp_path: Path
) -> None:
    source = SqliteStore(tmp_path / "inbox.db")
    await source.start()
    done = await fill(encoded(source))
    await source.close()
    connection = await asyncpg.connect(inbox_url)
    await connection.execute("UPDATE gateway.facts SET value = $1 WHERE name = 'oldest_program'", OLDEST)
    await copy_store(SqliteStore(tmp_path / "inbox.db"), PostgresStore(inbox_url), lambda *_: None)
    assert await connection.fetchval("SELECT value FROM gateway.facts WHERE name = 'oldest_program'") == HEAD
    await connection.close()
    target = PostgresStore(inbox_url)
    await target.start()
    await assert_whole(encoded(target), done)
    await target.close()


async def test_an_inbox_of_version_0_1_on_postgresql_is_compressed_once_compact_says_so(inbox_url: str) -> None:
    """Its gateways may still run beside, and would send on what they cannot read."""
    connection = await asyncpg.connect(inbox_url)
    await connection.execute("UPDATE gateway.facts SET value = $1 WHERE name = 'oldest_program'", OLDEST)
    opened = open_store(inbox_url, Path())
    await opened.start()
    store = await with_codec(opened, Keyring(()), compresses=True, strict=True)
    await fill(store)
    assert await dictionaries_in_use(opened) == [0, 0, 0, 0]
    await compact_all(opened, Keyring(()), lambda seen: None)
    assert await connection.fetchval("SELECT value FROM gateway.facts WHERE name = 'oldest_program'") == HEAD
    assert isinstance(store, EncodedStore)
    await store.ask_whether_to_compress()
    assert store.codec.compresses
    await opened.close()
    await connection.close()


def test_the_command(run: StoreCommands, tmp_path: Path) -> None:
    done = run("sqlite:///inbox.db", "db", "migrate")
    assert done.code == 0, done.err
    with closing(sqlite3.connect(tmp_path / "inbox.db")) as database, database:
        database.executemany(
            "INSERT INTO events (seq, account, id, type, state, received_at, source, body)"
            " VALUES (?, 'acme', ?, 'invoice.paid', 'unmatched', ?, 'webhook', ?)",
            [(number, f"evt_{number}", 1_795_000_000_000, BODY) for number in range(1, 301)],
        )
    told = run("sqlite:///inbox.db", "db", "compact")
    assert told.code == 0, told.err
    assert told.out.startswith("300 events and 0 rejected requests looked at, 300 compressed just now: ")
    shown = json.loads(run("sqlite:///inbox.db", "db", "compact", "--json").out)
    assert (shown["events"], shown["compressed"], shown["left_to_do"]) == (300, 0, None)
    assert shown["size_bytes"] < 300 * len(BODY) / 2
    assert json.loads(run("sqlite:///inbox.db", "events", "show", "evt_7", "--json").out)["body"]["id"] == "evt_1"
