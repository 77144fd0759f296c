"""What the public listener refuses is kept with its reason, and by whom it was sent decides whether it is heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
import structlog
from structlog.testing import capture_logs

from gateway.app.gateway import running
from gateway.config.load import load
from gateway.core.model import EventFilter, RejectedFilter, RejectedRequest
from gateway.intake.planning import readmission
from gateway.store.encoding.store import with_codec
from gateway.store.encryption.keyring import Keyring
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event, signed_request

SECRET = "whsec_acme"
OTHER = "whsec_other"


def body() -> bytes:
    return json.dumps(make_event("invoice.paid")).encode()


class Site:
    """A gateway in this process, and its inbox."""

    def __init__(self, folder: Path, server: str = "", rejected: str = "") -> None:
        self.folder = folder
        self.path = folder / "gateway.yaml"
        self.path.write_text(
            f"""
version: 1
server: {{listen: "127.0.0.1:0"{server}}}
admin: {{listen: "127.0.0.1:0"}}
store: {{url: "sqlite:///inbox.db"}}
rejected: {{{rejected}}}
accounts:
  acme: {{signing_secrets: [{SECRET}], tolerance: 5m}}
  second: {{signing_secrets: [whsec_second]}}
"""
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        async with running(load(self.path, {}), structlog.get_logger()) as ready:
            yield ready.public_url

    async def post(self, path: str, content: bytes | AsyncIterator[bytes], headers: Mapping[str, str]) -> int:
        async with (
            self.running() as url,
            aiohttp.ClientSession() as session,
            session.post(url + path, data=content, headers=headers) as response,
        ):
            return response.status

    async def kept(self) -> list[RejectedRequest]:
        """What was rejected, whole, in order of arrival; the gateway has stopped."""
        store = SqliteStore(self.folder / "inbox.db")
        await store.attach()
        try:
            listed = await store.rejected(RejectedFilter(), limit=10_000, newest_first=False)
            as_used = await with_codec(store, Keyring(()), compresses=True, strict=True)
            found = [await as_used.rejected_request(one.id) for one in listed]
            return [one for one in found if one is not None]
        finally:
            await store.close()

    async def events(self) -> list[str]:
        store = SqliteStore(self.folder / "inbox.db")
        await store.attach()
        try:
            return [one.id for one in await store.events(EventFilter(), limit=100)]
        finally:
            await store.close()


def late(content: bytes) -> dict[str, str]:
    return signed_request(content, SECRET, timestamp=int(time.time()) - 400)


@pytest.mark.parametrize(
    ("reason", "status", "make"),
    [
        ("missing", 401, lambda content: {}),
        ("malformed", 401, lambda content: {"Stripe-Signature": "v1=00"}),
        ("no_match", 401, lambda content: signed_request(content, OTHER)),
        ("too_old", 401, late),
        ("too_new", 401, lambda content: signed_request(content, SECRET, timestamp=int(time.time()) + 7200)),
    ],
)
async def test_what_failed_verification_is_kept_with_its_reason_and_is_no_event(
    tmp_path: Path, reason: str, status: int, make: object
) -> None:
    site = Site(tmp_path)
    content = body()
    headers = make(content)  # type: ignore[operator] # one of those above
    assert await site.post("/webhooks/acme", content, headers) == status
    (kept,) = await site.kept()
    assert (kept.reason, kept.account, kept.address, kept.peer) == (reason, "acme", "127.0.0.1", "127.0.0.1")
    assert kept.signature == headers.get("Stripe-Signature")
    assert kept.body == content
    assert kept.size == len(content) + len(kept.signature or "")
    assert await site.events() == []


async def test_a_good_signature_over_no_event_is_kept_as_a_malformed_event(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert await site.post("/webhooks/acme", b"{}", signed_request(b"{}", SECRET)) == 400
    assert [(one.reason, one.body) for one in await site.kept()] == [("malformed_event", b"{}")]


async def test_with_more_accounts_than_may_share_it_the_path_without_a_name_is_closed(tmp_path: Path) -> None:
    site, content = Site(tmp_path, ", shared_path_accounts: 1"), body()
    with capture_logs() as logs:
        assert await site.post("/webhooks", content, signed_request(content, SECRET)) == 404
    assert [line["reason"] for line in logs if line["event"] == "request.refused"] == ["shared_path"]
    assert await site.post("/webhooks/acme", content, signed_request(content, SECRET)) == 200


async def test_a_request_without_an_account_is_kept_without_one(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert await site.post("/webhooks", b"{}", signed_request(b"{}", OTHER)) == 401
    assert [(one.reason, one.account) for one in await site.kept()] == [("no_match", None)]


async def test_what_is_larger_than_max_body_is_told_and_kept_without_its_body(tmp_path: Path) -> None:
    """Also where it comes in chunks, and is not known to be too large before."""
    site = Site(tmp_path, ", max_body: 1KiB")
    content = json.dumps(make_event("invoice.paid") | {"long": "x" * 2000}).encode()
    signed = signed_request(content, SECRET)

    async def chunks() -> AsyncIterator[bytes]:
        yield content[:500]
        yield content[500:]

    for sent in (content, chunks()):
        with capture_logs() as logs:
            assert await site.post("/webhooks/acme", sent, signed) == 413
        (line,) = [line for line in logs if line["event"] == "request.refused"]
        assert (line["reason"], line["account"], "max_body" in line["hint"]) == ("too_large", "acme", True)
    kept = await site.kept()
    assert [(row.reason, row.account, row.body) for row in kept] == [("too_large", "acme", b"")] * 2
    assert {row.signature for row in kept} == {signed["Stripe-Signature"]}
    assert {readmission(load(site.path, {}))(row) for row in kept} == {"too_large"}


async def test_a_request_for_an_unknown_account_is_not_kept(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert await site.post("/webhooks/nobody", b"{}", signed_request(b"{}", SECRET)) == 404
    assert await site.kept() == []


async def test_nothing_is_kept_where_the_config_says_so(tmp_path: Path) -> None:
    site = Site(tmp_path, rejected="max_requests: 0")
    assert await site.post("/webhooks/acme", b"{}", {}) == 401
    assert await site.kept() == []


async def test_a_flood_is_bounded_and_good_events_pass_meanwhile(tmp_path: Path) -> None:
    site = Site(tmp_path, rejected="max_requests: 60")
    content = body()
    with capture_logs() as log:
        async with site.running() as url, aiohttp.ClientSession() as session:

            async def post(headers: Mapping[str, str], data: bytes) -> int:
                async with session.post(f"{url}/webhooks/acme", data=data, headers=headers) as response:
                    return response.status

            bad = signed_request(content, OTHER)
            flood = [post(bad, content) for _ in range(600)]
            events = [body() for _ in range(20)]
            good = [post(signed_request(one, SECRET), one) for one in events]
            answers = await asyncio.gather(*flood, *good)
    assert answers == [401] * 600 + [200] * 20
    assert len(await site.events()) == 20
    kept = await site.kept()
    assert 0 < len(kept) <= 60
    refusals = [one for one in log if one["event"] == "request.refused"]
    assert 1 <= len(refusals) < 100
    assert refusals[0] == {
        "event": "request.refused",
        "account": "acme",
        "reason": "no_match",
        "request_id": refusals[0]["request_id"],
        "address": "127.0.0.1",
        "hint": "after the secret is mended, `gateway rejected verify` takes what is kept",
        "log_level": "warning",
    }


# -- where requests come from ---------------------------------------------------------------------------------


def behind_a_proxy(folder: Path) -> Site:
    (folder / "ips.json").write_text(json.dumps({"WEBHOOKS": ["192.0.2.7"], "fetched_at": "2026-11-24T00:00:00+00:00"}))
    return Site(folder, ", allowed_ips: stripe, stripe_ips: ips.json, trusted_proxies: [127.0.0.1]")


async def test_an_event_from_stripes_addresses_is_taken(tmp_path: Path) -> None:
    site = behind_a_proxy(tmp_path)
    content = body()
    headers = {**signed_request(content, SECRET), "X-Forwarded-For": "203.0.113.9, 192.0.2.7"}
    assert await site.post("/webhooks/acme", content, headers) == 200
    assert await site.kept() == []


async def test_a_good_signature_from_elsewhere_is_refused_and_kept_and_says_what_to_do(tmp_path: Path) -> None:
    site = behind_a_proxy(tmp_path)
    content = body()
    headers = {**signed_request(content, SECRET), "X-Forwarded-For": "192.0.2.7, 203.0.113.9"}
    with capture_logs() as log:
        assert await site.post("/webhooks/acme", content, headers) == 403
    (kept,) = await site.kept()
    assert (kept.reason, kept.address, kept.peer) == ("source", "203.0.113.9", "127.0.0.1")
    assert kept.forwarded_for == "192.0.2.7, 203.0.113.9"
    assert await site.events() == []
    (told,) = [one for one in log if one["event"] == "request.refused"]
    assert told["hint"] == (
        "the signature is good: maybe Stripe has new addresses (`gateway stripe-ips refresh`), or a proxy in front is "
        "not in server.trusted_proxies"
    )


async def test_for_what_neither_signature_nor_address_speaks_is_not_kept(tmp_path: Path) -> None:
    site = behind_a_proxy(tmp_path)
    content = body()
    headers = {**signed_request(content, OTHER), "X-Forwarded-For": "203.0.113.9"}
    assert await site.post("/webhooks/acme", content, headers) == 403
    assert await site.kept() == []


async def test_a_bad_signature_from_stripes_addresses_is_kept(tmp_path: Path) -> None:
    site = behind_a_proxy(tmp_path)
    content = body()
    headers = {**signed_request(content, OTHER), "X-Forwarded-For": "192.0.2.7"}
    assert await site.post("/webhooks/acme", content, headers) == 401
    assert [one.reason for one in await site.kept()] == ["no_match"]


async def test_without_a_trusted_proxy_its_word_is_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, ", allowed_ips: [192.0.2.7]")
    content = body()
    headers = {**signed_request(content, SECRET), "X-Forwarded-For": "192.0.2.7"}
    assert await site.post("/webhooks/acme", content, headers) == 403
    assert [one.address for one in await site.kept()] == ["127.0.0.1"]
