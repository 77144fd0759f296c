"""store.encrypt on real stores: nothing in clear, old rows readable, keys rolled, a wrong key refused."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
import structlog

from gateway.app.gateway import running
from gateway.config.load import load
from gateway.core.errors import StoreKeyMissing, UsageError
from gateway.core.model import EventFilter, Fetched, Finish, RejectedFilter
from gateway.store.copy import copy_store
from gateway.store.encoding.codec import BodyCodec
from gateway.store.encoding.recode import seal_all
from gateway.store.encoding.store import EncodedStore, used_keys, with_codec
from gateway.store.encryption.keyring import Keyring
from gateway.store.postgres.store import PostgresStore
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from tests.cli import StoreCommands
from tests.contract.test_rejected import BOUNDS, a_rejected
from tests.contract.test_store import SUCCEEDED, an_event, claim_all, owed

ROOT = Path(__file__).parents[2]
INBOX = "sqlite:///inbox.db"
KEY = base64.b64encode(bytes(range(32))).decode()
NEW = base64.b64encode(bytes(range(1, 33))).decode()
NEEDLES = ("needle-body", "needle-rendered", "needle-output", "needle-fetched", "needle-rejected", "needle-exchange")
LONG = replace(BOUNDS, age_seconds=1e9)
NOW = datetime(2026, 11, 24, tzinfo=UTC)


BRING_NO_BODY = [
    "answer",
    "arrivals",
    "attach",
    "audit",
    "buckets",
    "cancel",
    "change_connection",
    "close",
    "connections",
    "count_deliveries",
    "count_events",
    "count_rejected",
    "counts",
    "counts_by_time",
    "dead_causes",
    "deliveries",
    "delivery_page",
    "done_once",
    "due",
    "event_kinds",
    "events",
    "forget_rejected",
    "is_shared",
    "keep_note",
    "lane_states",
    "last_events",
    "latencies",
    "mark",
    "migrate",
    "note",
    "ping",
    "purge",
    "record",
    "rejected",
    "release_lease",
    "renew",
    "replay",
    "retry",
    "scrub",
    "size_bytes",
    "start",
    "status",
    "take_lease",
    "takes_compressed",
    "wait_for_work",
    "waiting",
]
AS_THEY_ARE_KEPT = ["contents", "replace_contents", "replace_rejected"]  # sealed: for sweeps, which have the keys


def test_a_store_s_new_method_is_sealed_or_said_to_bring_no_body() -> None:
    methods, encoded = ({name for name in dir(kind) if not name.startswith("_")} for kind in (Store, EncodedStore))
    assert sorted(methods - encoded) == sorted([*BRING_NO_BODY, *AS_THEY_ARE_KEPT])


async def fill(store: Store, event_id: str = "evt_1") -> str:
    """An event with everything that is kept of one; the id of the delivery that succeeded."""
    event = replace(an_event(event_id), body=b'{"id": "' + event_id.encode() + b'", "name": "needle-body"}')
    await store.add(event, [owed("save"), owed("ship", "save")])
    (claim,) = await claim_all(store)
    await store.keep_fetched(claim.delivery.run_id, Fetched("q", NOW, {"name": "needle-fetched"}))
    told = replace(SUCCEEDED.attempt, exchanges=[{"sent": "needle-exchange"}])
    done = replace(SUCCEEDED, attempt=told, rendered={"to": "needle-rendered"}, output={"status": "needle-output"})
    assert isinstance(done, Finish)
    assert await store.finish(claim.delivery.id, claim.token, done)
    await store.keep_rejected([replace(a_rejected(f"rej_{event_id}"), body=b"needle-rejected")], LONG)
    return claim.delivery.id


async def assert_readable(store: Store, delivery_id: str, event_id: str = "evt_1") -> None:
    (event,) = await store.event(event_id)
    assert b"needle-body" in event.body
    found = await store.delivery(delivery_id)
    assert found is not None
    assert found[0].rendered == {"to": "needle-rendered"}
    assert found[0].output == {"status": "needle-output"}
    assert found[1][0].exchanges == [{"sent": "needle-exchange"}]
    fetched = await store.fetched(found[0].run_id)
    assert fetched is not None
    assert fetched.object == {"name": "needle-fetched"}
    request = await store.rejected_request(f"rej_{event_id}")
    assert request is not None
    assert request.body == b"needle-rejected"


def found_in_files(folder: Path) -> list[str]:
    held = b"".join(path.read_bytes() for path in folder.glob("inbox.db*"))
    return [needle for needle in NEEDLES if needle.encode() in held]


async def opened(path: Path, *keys: str, strict: bool = True) -> Store:
    store = SqliteStore(path)
    await store.start()
    try:
        return await with_codec(store, Keyring(keys), compresses=False, strict=strict)
    except BaseException:
        await store.close()
        raise


async def test_nothing_is_in_clear_and_all_is_readable(tmp_path: Path) -> None:
    store = await opened(tmp_path / "inbox.db", KEY)
    done = await fill(store)
    await assert_readable(store, done)
    (claim,) = await claim_all(store)
    assert claim.outputs == {"save": {"status": "needle-output"}}
    assert b"needle-body" in claim.event.body
    await store.close()
    assert found_in_files(tmp_path) == []


async def test_clear_rows_stay_readable_and_are_encrypted_by_a_sweep(tmp_path: Path) -> None:
    store = await opened(tmp_path / "inbox.db")
    done = await fill(store)
    await store.close()
    assert found_in_files(tmp_path) == list(NEEDLES)
    store = await opened(tmp_path / "inbox.db", KEY)
    await assert_readable(store, done)
    await store.close()
    plain = SqliteStore(tmp_path / "inbox.db")
    await plain.start()
    swept = await seal_all(plain, Keyring([KEY]), lambda seen: None)
    assert (swept.events, swept.changed, swept.rejected) == (1, 2, 1)
    assert (await seal_all(plain, Keyring([KEY]), lambda seen: None)).changed == 0
    await plain.close()
    assert found_in_files(tmp_path) == []
    store = await opened(tmp_path / "inbox.db", KEY)
    await assert_readable(store, done)
    await store.close()


async def test_keys_are_rolled(tmp_path: Path) -> None:
    store = await opened(tmp_path / "inbox.db", KEY)
    done = await fill(store)
    await store.close()
    store = await opened(tmp_path / "inbox.db", NEW, KEY)
    later = await fill_second(store)
    await store.close()
    with pytest.raises(StoreKeyMissing, match="name it in store"):
        await opened(tmp_path / "inbox.db", NEW)
    plain = SqliteStore(tmp_path / "inbox.db")
    await plain.start()
    await seal_all(plain, Keyring([NEW, KEY]), lambda seen: None)
    await plain.close()
    store = await opened(tmp_path / "inbox.db", NEW)
    await assert_readable(store, done)
    assert b"needle-body" in (await store.event(later))[0].body
    await store.close()


async def fill_second(store: Store) -> str:
    await store.add(replace(an_event("evt_2"), body=b'{"name": "needle-body"}'), [])
    return "evt_2"


async def test_a_missing_key_is_told_to_whoever_reads(tmp_path: Path) -> None:
    store = await opened(tmp_path / "inbox.db", KEY)
    await fill(store)
    await store.close()
    with pytest.raises(StoreKeyMissing, match="and no key is given"):
        await opened(tmp_path / "inbox.db")
    store = await opened(tmp_path / "inbox.db", strict=False)
    assert [event.id for event in await store.events(EventFilter(), limit=5)] == ["evt_1"]
    with pytest.raises(StoreKeyMissing, match="and no key is given"):
        await store.event("evt_1")
    with pytest.raises(StoreKeyMissing, match="names no key to encrypt another one with"):
        await store.add(an_event("evt_3"), [])
    await store.close()


async def test_a_gateway_does_not_start_with_the_wrong_key(tmp_path: Path) -> None:
    store = await opened(tmp_path / "inbox.db", KEY)
    await store.close()
    path = tmp_path / "gateway.yaml"
    path.write_text(
        'version: 1\nserver: {listen: "127.0.0.1:0"}\nadmin: {listen: "127.0.0.1:0"}\n'
        f'store: {{url: "sqlite:///inbox.db", encrypt: "{NEW}"}}\naccounts: {{acme: {{signing_secrets: [whsec_x]}}}}\n'
    )
    with pytest.raises(StoreKeyMissing, match="name it in store"):
        async with running(load(path, {}), structlog.get_logger()):
            pass
    again = await opened(tmp_path / "inbox.db", KEY)  # the refused gateway has let go of it
    await again.close()


async def test_a_search_by_text_says_that_it_cannot_look_inside(tmp_path: Path) -> None:
    store = await opened(tmp_path / "inbox.db", KEY)
    with pytest.raises(UsageError, match="a search cannot look inside them; narrow by object, type, account, state"):
        await store.event_page(EventFilter(text="needle"), limit=5)
    await store.close()


async def test_a_copy_to_postgresql_keeps_what_is_sealed(tmp_path: Path, inbox_url: str) -> None:
    store = await opened(tmp_path / "inbox.db", KEY)
    done = await fill(store)
    await store.close()
    await copy_store(SqliteStore(tmp_path / "inbox.db"), PostgresStore(inbox_url), lambda *told: None)
    target = PostgresStore(inbox_url)
    await target.start()
    assert await used_keys(target) == Keyring([KEY]).ids
    await assert_readable(await with_codec(target, Keyring([KEY]), compresses=False, strict=True), done)
    await target.close()


async def test_a_sweep_on_postgresql(inbox_url: str) -> None:
    store = PostgresStore(inbox_url)
    await store.start()
    done = await fill(store)
    assert (await seal_all(store, Keyring([KEY]), lambda seen: None)).changed == 2
    (raw,) = await store.event("evt_1")
    assert b"needle" not in raw.body
    await assert_readable(cast(Store, EncodedStore(store, BodyCodec(Keyring([KEY]), compresses=False))), done)
    assert len(await store.rejected(RejectedFilter(), limit=5)) == 1
    await store.close()


async def test_the_commands(run: StoreCommands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLD_KEY", KEY)
    store = await opened(tmp_path / "inbox.db")
    await fill(store)
    await store.close()
    refused = run(INBOX, "db", "encrypt")
    assert (refused.code, refused.err) == (2, "db encrypt: store.encrypt names no key to encrypt with\n")
    done = run(INBOX, "db", "encrypt", encrypt='"${OLD_KEY}"')
    assert done.code == 0, done.err
    assert done.out.startswith("1 events and 1 rejected requests looked at, 2 encrypted just now\n")
    shown = run(INBOX, "events", "show", "evt_1", encrypt='"${OLD_KEY}"')
    assert "needle-body" in shown.out
    without = run(INBOX, "events", "show", "evt_1")
    assert without.code == 1
    assert without.err == (
        f"bodies in this store are encrypted with key {Keyring([KEY]).ids[0]}, and no key is given: name it in "
        "store.encrypt, after the one that is to encrypt; it may be left out once `gateway db encrypt` has gone "
        "through all bodies\n"
    )
    assert run(INBOX, "db", "status", encrypt="nonsense").err == (
        "store.encrypt: expected 32 random bytes in base64, as `openssl rand -base64 32` makes them\n"
    )
    checked = run(INBOX, "check", encrypt="[nonsense-of-a-key]")
    assert "expected 32 random bytes in base64" in checked.err + checked.out
    assert "nonsense-of-a-key" not in checked.err + checked.out
