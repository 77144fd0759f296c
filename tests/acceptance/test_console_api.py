"""The admin API from outside: schemathesis over its document, and what its endpoints do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import make_event
from tests.acceptance.console import OPERATOR, VIEWER, Console

pytestmark = [pytest.mark.xdist_group("console-api"), pytest.mark.slow]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    made = Console(tmp_path_factory.mktemp("console-api"))
    made.start()
    made.send("checkout.session.completed", "customer.created", "checkout.session.completed")
    yield made
    made.process.terminate()


@pytest.fixture
def fuzzed(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    made.start()
    made.send("checkout.session.completed", "customer.created")
    yield made
    made.process.terminate()


def test_no_request_gets_an_undocumented_answer(fuzzed: Console, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{fuzzed.url}/api/v1/openapi.json",
        "--header", f"Authorization: Bearer {OPERATOR}", "--phases", "examples,coverage,fuzzing",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        "--max-examples", "25", "--seed", "1", "--no-color", "--request-timeout", "20", "--workers", "1",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=tmp_path, env=os.environ)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "admin.failed" not in fuzzed.process.log.read_text()


def refusal(console: Console, path: str, body: object = None, token: str = OPERATOR) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        console.api(path, body, token)
    with caught.value as error:
        assert error.headers["Content-Type"].startswith("application/problem+json")
        problem = json.load(error)
        assert problem["status"] == error.code
        return error.code, problem["detail"]


def test_lists_go_on_at_next_and_filters_narrow(console: Console) -> None:
    first = console.api("/events?limit=2")
    rest = console.api(f"/events?limit=2&cursor={first['next']}")
    assert [one["type"] for one in first["items"]] == ["checkout.session.completed", "customer.created"]
    assert ([one["type"] for one in rest["items"]], rest["next"]) == (["checkout.session.completed"], None)
    assert [one["state"] for one in console.api("/events?state=unmatched,ignored")["items"]] == ["unmatched"]
    assert console.api("/events?text=jenny@example.com&type=customer.*")["items"][0]["type"] == "customer.created"
    assert {one["action"] for one in console.api("/deliveries?connection=shop")["items"]} == {"save"}
    assert console.api("/deliveries?since=2h&until=1h")["items"] == []


def test_errors_say_what_is_wrong(console: Console) -> None:
    assert refusal(console, "/deliveries/dlv_none") == (404, "there is no such delivery")
    assert refusal(console, "/events/evt_none") == (404, "there is no such event in the inbox")
    status, detail = refusal(console, "/events?state=lost&limit=0&foo=1")
    assert status == 422
    assert "limit: Input should be greater than or equal to 1" in detail
    assert "foo: Extra inputs are not permitted" in detail
    assert refusal(console, "/events?cursor=x") == (422, "the cursor is not one that this list gave out")
    assert refusal(console, "/nothing") == (404, "there is nothing here")
    assert refusal(console, "/jobs", {"what": "retry"}) == (422, "retry takes deliveries")
    assert refusal(console, "/deliveries/retry", {"ids": ["x"]}, VIEWER)[0] == 403
    assert refusal(console, "/events", token="wrong") == (401, "send the token, as Authorization: Bearer ...")


def test_changes_are_made_and_noted_in_the_audit_log(console: Console) -> None:
    dead = console.api("/deliveries?state=dead")["items"][0]["id"]
    done = console.api("/deliveries/retry", {"ids": [dead, "dlv_none"]})["results"]
    assert done == [
        {"id": dead, "done": True, "refused": None},
        {"id": "dlv_none", "done": False, "refused": "there is no such delivery"},
    ]
    console.until(lambda: console.api(f"/deliveries/{dead}")["state"] == "dead")
    whole = console.api(f"/deliveries/{dead}")
    assert [one["outcome"] for one in whole["history"]] == ["dead", "dead"]
    assert whole["rendered"] == {"connection": "warehouse"}
    cancelled = console.api(f"/deliveries/{dead}/cancel", {})
    assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "cancelled by an operator")
    assert refusal(console, f"/deliveries/{dead}/cancel", {}) == (409, "it is cancelled")
    event = console.api("/events?type=checkout.*")["items"][0]["id"]
    dry = console.api("/events/replay", {"events": [{"id": event}], "dry_run": True})["results"]
    assert (dry[0]["owed"], dry[0]["deliveries"]) == (["fulfil/save", "fulfil/ship", "fulfil/after"], [])
    assert len(console.api("/events/replay", {"events": [{"id": event}]})["results"][0]["deliveries"]) == 3
    assert refusal(console, "/events/replay", {"events": [{"id": event}], "routes": ["x"]}) == (422, "no such route: x")
    count = console.api("/jobs", {"what": "replay", "events": {"type": ["checkout.*"]}, "dry_run": True})
    assert (count["count"], count["job"], count["looked_at"]) == (2, None, 2)
    assert count["parts"] == {"fulfil/save": 2, "fulfil/ship": 2, "fulfil/after": 2}
    job = console.api("/jobs", {"what": "replay", "events": {"type": ["checkout.*"]}})["job"]["id"]
    ended = console.until(lambda: (one := console.api(f"/jobs/{job}"))["state"] == "finished" and one)
    assert (ended["total"], ended["done"], ended["refused"]) == (2, 2, 0)
    assert sum(ended["became"].values()) == 6
    noted = [(one["what"], one["count"], one["role"]) for one in console.api("/audit")["items"]]
    assert noted == [
        ("event.replay (many)", 2, "operator"),
        ("event.replay", 1, "operator"),
        ("delivery.cancel", 1, "operator"),
        ("delivery.cancel", 1, "operator"),
        ("delivery.retry", 2, "operator"),
    ]


def test_the_playground_sends_nothing(console: Console) -> None:
    before = console.process.rows("SELECT count(*) FROM deliveries")
    event = '{"id": "evt_1", "object": "event", "type": "checkout.session.completed", "created": 1, "livemode": false,'
    event += ' "data": {"object": {"id": "cs_1", "payment_status": "paid", "amount_total": 5}}}'
    draft = "routes: {mine: {events: [checkout.*], if: object.amount_total > 3, actions: {ship: {uses: http_forward,"
    draft += " with: {connection: warehouse, body: '{{ object.id }}'}}}}}"
    (route,) = console.api("/playground", {"event": event, "draft": draft}, VIEWER)["routes"]
    assert (route["route"], route["matched"]) == ("mine", True)
    assert route["actions"][0]["rendered"] == {"connection": "warehouse", "body": "cs_1"}
    wrong = console.api("/playground", {"event": event, "draft": draft.replace("object.amount", "object.(")})
    assert len(wrong["problems"]) == 1
    assert wrong["routes"] == []
    assert console.api("/playground", {"event": "{}"})["problems"][0].startswith("the event: not a Stripe event")
    assert console.process.rows("SELECT count(*) FROM deliveries") == before


def test_no_secret_is_in_what_it_shows(console: Console) -> None:
    text = str(console.api("/config")) + str(console.api("/overview"))
    for secret in (OPERATOR, VIEWER, "whsec_"):
        assert secret not in text
    assert "***" in text


def test_a_customer_is_forgotten_by_a_job(console: Console) -> None:
    event = make_event(
        "checkout.session.completed", object={"customer": "cus_Forgotten", "client_reference_id": "MARK"}
    )
    assert console.post(event) == 200
    console.until(lambda: not console.api("/deliveries?state=pending,running")["items"])
    ask = {"customer": "cus_Forgotten"}
    assert refusal(console, "/customers/forget", ask, VIEWER)[0] == 403
    assert refusal(console, "/customers/forget", {"customer": "jo"})[0] == 422
    counted = console.api("/customers/forget", {**ask, "dry_run": True})
    assert (counted["count"], counted["job"]) == (1, None)

    def forget(**more: bool) -> Any:
        job = console.api("/customers/forget", {**ask, **more})["job"]["id"]
        return console.until(lambda: (one := console.api(f"/jobs/{job}"))["state"] == "finished" and one)

    refused = forget()  # what ships is a dead letter, and waits for a person
    assert (refused["refused"], refused["first_refusal"]) == (
        1,
        f"{event['id']}: 2 of its deliveries are still owed, or dead letters",
    )
    assert "MARK" in json.dumps(console.api(f"/events/{event['id']}"))
    assert forget(cancel=True)["refused"] == 0
    left = console.api(f"/events/{event['id']}")
    assert "MARK" not in json.dumps(left)
    assert {one["state"] for one in left["deliveries"]} <= {"succeeded", "cancelled", "skipped"}
    assert console.api("/customers/forget", {**ask, "dry_run": True})["count"] == 0
    assert console.api("/audit")["items"][0]["what"] == "customer.forget --cancel"
