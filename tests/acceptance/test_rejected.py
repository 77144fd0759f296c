"""From a wrong secret to everything in the inbox: `gateway rejected`, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.testing import make_event, signed_request
from tests.acceptance.harness import SECRET, GatewayProcess, Sink, free_port, post
from tests.configs import SHIP, gateway_yaml, http
from tests.http_service import Serve
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("commands_in_process")

NOWHERE, SQLITE = "http://127.0.0.1:9/", "sqlite:///data/gateway.db"
WRONG = "whsec_of_another_endpoint"


def config(port: int, sink: str, store: str, secrets: str, server: str = "") -> str:
    return gateway_yaml(
        port=port,
        server=server,
        store=f'url: "{store}"',
        secrets=secrets,
        connections={"warehouse": http(sink)},
        routes=SHIP.replace("checkout.session.completed", "invoice.paid"),
    )


async def until_rejected(gateway: GatewayProcess, count: int) -> list[dict[str, Any]]:
    rejected: list[dict[str, Any]] = []

    def are_kept() -> bool:
        rejected[:] = gateway.json("rejected")
        return len(rejected) >= count

    await until(are_kept, every=0.1, seen=lambda: rejected)
    return rejected


async def until_forwarded(sink: Sink, count: int) -> None:
    await until(lambda: len(sink.ids) >= count)


async def test_what_a_wrong_secret_refused_is_taken_after_it_is_mended(
    tmp_path: Path, sink: Sink, store_url: str
) -> None:
    port = free_port()
    gateway = GatewayProcess(tmp_path, config(port, sink.url, store_url, WRONG), port)
    await gateway.start()
    url = f"{gateway.url}/webhooks/acme"
    events = [make_event("invoice.paid") for _ in range(3)]
    try:
        async with aiohttp.ClientSession() as session:
            for event in (*events, events[0]):  # one of them comes twice, as Stripe sends it again
                assert (await post(session, url, event))[0] == 401
            old = json.dumps(make_event("invoice.paid")).encode()
            header = signed_request(old, SECRET, timestamp=int(time.time()) - 3600)
            async with session.post(url, data=old, headers=header) as response:
                assert response.status == 401
        listed = await until_rejected(gateway, 5)
        assert [one["reason"] for one in listed] == ["no_match"] * 5
        assert set(listed[0]) == {"id", "received_at", "account", "reason", "address", "size"}
        kept_old = listed[0]["id"]

        again = gateway.json("rejected", "verify")  # the secret is still wrong
        assert {one["outcome"] for one in again} == {"no_match"}
        assert gateway.terminate() == 0
        gateway.config.write_text(config(port, sink.url, store_url, SECRET))
        await gateway.start()

        would = gateway.json("rejected", "verify", "--dry-run")
        assert [one["outcome"] for one in would] == ["taken", "taken", "taken", "duplicate", "too_old"]
        assert gateway.json("events", "list") == []
        done = gateway.json("rejected", "verify")
        assert [one["outcome"] for one in done] == ["taken", "taken", "taken", "duplicate", "too_old"]
        assert [one["event_id"] for one in done] == [*(e["id"] for e in events), events[0]["id"], None]
        if store_url.startswith("sqlite"):
            noted = gateway.rows("SELECT role, what, count FROM audit")
            assert noted == [("cli", "rejected.verify", 4)]
        await until_forwarded(sink, 3)
        assert set(sink.events.values()) == {event["id"] for event in events}
        shown = gateway.json("events", "show", events[0]["id"])
        assert (shown["source"], shown["state"]) == ("rejected", "routed")

        # What was signed too long before it came stays, for whoever looks.
        assert [one["id"] for one in gateway.json("rejected")] == [kept_old]
        failed = gateway.run("rejected", "verify", kept_old)
        assert failed.returncode == 1
        assert "too_old" in failed.stdout
        async with aiohttp.ClientSession() as session:  # and Stripe's own next try is a duplicate
            assert await post(session, url, events[1]) == (200, {"received": True, "duplicate": True})
    finally:
        assert gateway.terminate() == 0


async def test_show_prints_a_hostile_request_harmlessly(tmp_path: Path) -> None:
    port = free_port()
    gateway = GatewayProcess(tmp_path, config(port, NOWHERE, SQLITE, SECRET), port)
    await gateway.start()
    hostile = b'{"id": "\x1b]0;owned\x07\x1b[2J\xe2\x80\xae\xc2\x9b31m", "x": "\xff"}\nsecond line'
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{gateway.url}/webhooks", data=hostile, headers={"Stripe-Signature": "t=1,v1=\xe9"}
            ) as answer,
        ):
            assert answer.status == 401
        (listed,) = await until_rejected(gateway, 1)
        shown = gateway.run("rejected", "show", listed["id"])
        assert shown.returncode == 0, shown.stderr
        assert all(c.isprintable() or c == "\n" for c in shown.stdout)
        assert '{"id": " ]0;owned  [2J  31m", "x": "\\xff"}\nsecond line' in shown.stdout
        assert (
            "why            its Stripe-Signature is none: Stripe did not send it, or a proxy in front changes headers"
            in shown.stdout.splitlines()
        )
        assert "signed_at      1970-01-01T00:00:01+00:00" in shown.stdout.splitlines()
        whole = gateway.json("rejected", "show", listed["id"])
        assert whole["body"] is None
        assert whole["body_base64"].startswith("eyJpZCI6")
        assert whole["account"] is None
        missing = gateway.run("rejected", "show", "rej_none")
        assert missing.returncode == 1
        assert missing.stderr == "there is no rejected request rej_none; they are kept for a while only\n"
    finally:
        assert gateway.terminate() == 0


def test_bad_usage_is_told(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, config(free_port(), NOWHERE, SQLITE, SECRET), 9)
    for words, said in {
        ("rejected", "--reason", "bad"): (
            "--reason bad: one of missing, malformed, no_match, too_old, too_new, malformed_event, too_large, source\n"
        ),
        ("rejected", "--reason", "no_match", "verify"): "put the options after `rejected verify`\n",
        ("--url", "http://127.0.0.1:9", "rejected", "verify"): (
            "rejected: --url is for events and deliveries; run this where gateway.yaml and its inbox are\n"
        ),
    }.items():
        done = gateway.run(*words)
        assert (done.returncode, done.stderr) == (2, said)


# -- Stripe's addresses ---------------------------------------------------------------------------------------


class Publisher:
    """Stands in for the place where Stripe publishes its addresses."""

    answer = json.dumps({"WEBHOOKS": ["192.0.2.7", "192.0.2.8"]})
    status = 200

    async def take(self, request: web.BaseRequest) -> web.Response:
        return web.Response(status=self.status, text=self.answer)


async def test_one_command_refreshes_stripes_addresses_and_a_bad_answer_changes_nothing(
    tmp_path: Path, serve: Serve
) -> None:
    text = config(
        free_port(),
        NOWHERE,
        SQLITE,
        '"${UNSET_HERE}"',
        "allowed_ips: stripe, trusted_proxies: [127.0.0.1]",
    )
    gateway = GatewayProcess(tmp_path, text, 9)
    publisher = Publisher()
    url = await serve(publisher.take) + "/ips_webhooks.json"
    file = tmp_path / "data" / "stripe-ips.json"

    async def refresh() -> Any:
        return await asyncio.to_thread(gateway.run, "stripe-ips", "refresh", "--url", url)

    done = await refresh()  # whatever else is unset
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote {file}: 2 addresses, 2 new, 0 gone\n+ 192.0.2.7\n+ 192.0.2.8\n"
    assert json.loads(file.read_text())["WEBHOOKS"] == ["192.0.2.7", "192.0.2.8"]
    publisher.answer = json.dumps({"WEBHOOKS": ["192.0.2.8", "2001:db8::1"]})
    done = await refresh()
    assert done.stdout == f"wrote {file}: 2 addresses, 1 new, 1 gone\n+ 2001:db8::1\n- 192.0.2.7\n"
    before = file.read_bytes()
    for status, answer, said in (
        (
            200,
            "<html>",
            f"what {url} answered is not Stripe's list: it is not JSON; {file} stays as it is\n",
        ),
        (
            200,
            '{"WEBHOOKS": []}',
            f"what {url} answered is not Stripe's list: it has no list WEBHOOKS with addresses in it; "
            f"{file} stays as it is\n",
        ),
        (503, "", f"{url} answered 503\n"),
        (302, "", f"{url} answered 302\n"),
        (200, "x" * 2_000_000, f"what {url} answered is too long for Stripe's list\n"),
    ):
        publisher.status, publisher.answer = status, answer
        done = await refresh()
        assert (done.returncode, done.stderr) == (1, said)
    assert file.read_bytes() == before
    assert [one.name for one in file.parent.iterdir()] == ["stripe-ips.json"]
    shown = await asyncio.to_thread(gateway.json, "stripe-ips", "show")
    assert (shown["addresses"], shown["is_old"]) == (["192.0.2.8", "2001:db8::1"], False)


def test_a_missing_list_stops_the_gateway_from_starting_and_says_how_to_get_one(tmp_path: Path) -> None:
    text = config(free_port(), NOWHERE, SQLITE, "whsec_x", "allowed_ips: [stripe, 127.0.0.1]")
    gateway = GatewayProcess(tmp_path, text, 9)
    done = gateway.run("serve")
    assert done.returncode == 1
    assert "cannot read Stripe's addresses from data/stripe-ips.json: No such file or directory" in done.stderr
    assert "`gateway stripe-ips refresh` fetches it" in done.stderr
    shown = gateway.run("stripe-ips", "show")
    assert (shown.returncode, shown.stderr) == (
        1,
        f"cannot read {tmp_path}/data/stripe-ips.json: No such file or directory; "
        "`gateway stripe-ips refresh` fetches it\n",
    )
