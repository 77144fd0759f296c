"""`stripe_call` in a running gateway, against the stand-in: what is written, once; what is refused, retried, paced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import make_event
from tests.acceptance.harness import free_port
from tests.contract.actions.fault_table import fault_rows
from tests.in_process import InProcess, config, gateway
from tests.stripe_standin import LIVE_KEY, TEST_KEY, Fault, StripeStandin
from tests.waiting import until

CALL = """\
  r:
    events: [{events}]
    connected_accounts: ["*", none]
    actions:
      call:
        uses: stripe_call
        with: {written}
"""
MAY = "    may: [refunds.create, customers.update, subscriptions.cancel]\n"
REFUND = {"method": "refunds.create", "params": {"payment_intent": "{{ object.payment_intent }}"}}


def call(written: dict[str, Any], stripe_url: str, events: str = '"*"', key: str = TEST_KEY) -> str:
    """A gateway.yaml with one route that writes at Stripe."""
    return config(CALL.format(events=events, written=json.dumps(written)), stripe_url, key=key, account=MAY)


def order(**envelope: Any) -> dict[str, Any]:
    return make_event("checkout.session.completed", object={"id": "cs_1", "payment_intent": "pi_1"}, **envelope)


async def outcome(running: InProcess) -> tuple[str, str]:
    """State and reason of the one delivery."""
    await running.until_finished()
    [(_, state, reason)] = running.deliveries()
    return state, reason or ""


async def test_a_refund_is_made_with_the_deliverys_id_as_its_key(tmp_path: Path, standin: StripeStandin) -> None:
    params = {
        "payment_intent": "{{ object.payment_intent }}",
        "amount": "{{ 5 * 100 }}",
        "metadata": {"of": "{{ object.id }}"},
    }
    async with gateway(tmp_path, call({"method": "refunds.create", "params": params}, standin.url)) as running:
        await running.post(order())
        assert (await outcome(running))[0] == "succeeded"
        [(delivery_id, output)] = running.rows("SELECT id, output FROM deliveries")
    [asked] = standin.requests
    assert (asked.method, asked.path, asked.headers["Idempotency-Key"]) == ("POST", "/v1/refunds", delivery_id)
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert asked.form == [("payment_intent", "pi_1"), ("amount", "500"), ("metadata[of]", "cs_1")]
    assert json.loads(output)["id"] == standin.writes.refunds[0]["id"] == "re_1"


@pytest.mark.parametrize(
    ("fault", "times"),  # more than the library repeats at once, and fewer than the attempts
    [
        (Fault(409, "This object cannot be accessed right now", "lock_timeout"), 4),
        (Fault(429, "Too many requests", "rate_limit"), 2),
        (Fault(500), 4),
        (Fault(503), 4),
        (Fault(drop=True), 4),
    ],
)
async def test_what_may_pass_is_retried_with_the_same_key_and_done_once(
    tmp_path: Path, standin: StripeStandin, fault: Fault, times: int
) -> None:
    standin.faults.extend([fault] * times)
    async with gateway(tmp_path, call(REFUND, standin.url)) as running:
        await running.post(order())
        assert (await outcome(running))[0] == "succeeded"
    assert len({asked.headers["Idempotency-Key"] for asked in standin.requests}) == 1
    assert len(standin.writes.refunds) == 1


async def test_a_write_whose_answer_was_lost_is_not_done_twice(tmp_path: Path, standin: StripeStandin) -> None:
    standin.faults.extend([Fault(drop=True, is_done=True)] * 4)
    async with gateway(tmp_path, call(REFUND, standin.url)) as running:
        await running.post(order())
        assert (await outcome(running))[0] == "succeeded"
    assert (len(standin.requests), len(standin.writes.refunds)) == (5, 1)


async def test_what_stripe_refuses_is_dead_with_its_code_and_words(tmp_path: Path, standin: StripeStandin) -> None:
    standin.writes.refunds.append({"payment_intent": "pi_1"})
    async with gateway(tmp_path, call(REFUND, standin.url)) as running:
        await running.post(order())
        assert await outcome(running) == (
            "dead",
            "Stripe answered 400 charge_already_refunded for /v1/refunds (request req_1): "
            "Charge ch_pi_1 has already been refunded.",
        )
    assert len(standin.requests) == 1


async def test_an_object_is_changed_on_behalf_of_the_connected_account(tmp_path: Path, standin: StripeStandin) -> None:
    standin.put({"id": "cus_1", "object": "customer", "metadata": {"a": "b"}}, account="acct_1")
    written = {"method": "customers.update", "id": "{{ object.id }}", "params": {"metadata": {"order": "6735"}}}
    async with gateway(tmp_path, call(written, standin.url)) as running:
        await running.post(make_event("customer.created", object={"id": "cus_1"}, account="acct_1"))
        assert (await outcome(running))[0] == "succeeded"
    [asked] = standin.requests
    assert (asked.path, asked.headers["Stripe-Account"]) == ("/v1/customers/cus_1", "acct_1")
    assert asked.headers["Stripe-Version"] == "2026-10-28.endive"


async def test_a_method_that_deletes_is_sent_as_one(tmp_path: Path, standin: StripeStandin) -> None:
    standin.put({"id": "sub_1", "object": "subscription", "status": "active"})
    written = {"method": "subscriptions.cancel", "id": "{{ object.subscription }}"}
    async with gateway(tmp_path, call(written, standin.url)) as running:
        await running.post(make_event("charge.dispute.created", object={"id": "dp_1", "subscription": "sub_1"}))
        assert (await outcome(running))[0] == "succeeded"
    assert (standin.requests[0].method, standin.requests[0].path) == ("DELETE", "/v1/subscriptions/sub_1")


@pytest.mark.parametrize(
    ("object_id", "told"),
    [
        ("..", "customers.update: an id is empty, or is none"),
        ("", "customers.update: an id is empty, or is none"),
        ("cus_1/sources", "No such customer: 'cus_1/sources' (request req_1)"),
    ],
)
async def test_an_id_leads_to_no_other_path(tmp_path: Path, standin: StripeStandin, object_id: str, told: str) -> None:
    standin.put({"id": "cus_1", "object": "customer"})
    written = {"method": "customers.update", "id": "{{ object.id }}", "params": {"phone": "1"}}
    async with gateway(tmp_path, call(written, standin.url)) as running:
        await running.post(make_event("customer.created", object={"id": object_id}))
        assert await outcome(running) == ("dead", told)


async def test_the_librarys_own_options_are_no_parameters(tmp_path: Path, standin: StripeStandin) -> None:
    written = {"method": "refunds.create", "params": {"stripe_account": "acct_2"}}
    async with gateway(tmp_path, call(written, standin.url)) as running:
        await running.post(order())
        assert await outcome(running) == ("dead", "stripe_account is no parameter of /v1/refunds")
    assert standin.requests == []


async def test_a_key_of_the_other_mode_writes_nothing(tmp_path: Path, standin: StripeStandin) -> None:
    async with gateway(tmp_path, call(REFUND, standin.url, key=LIVE_KEY)) as running:
        await running.post(order(livemode=False))
        told = "accounts.acme.api_key is a live key, and this is a test event: nothing was written"
        assert await outcome(running) == ("dead", told)
    assert standin.requests == []


async def test_a_dry_run_writes_nothing(tmp_path: Path, standin: StripeStandin) -> None:
    text = call(REFUND, standin.url).replace("        with:", "        dry_run: true\n        with:")
    async with gateway(tmp_path, text) as running:
        await running.post(order())
        assert (await outcome(running))[0] == "skipped"
    assert standin.requests == []


async def test_writes_and_fetches_are_paced_together(tmp_path: Path, standin: StripeStandin) -> None:
    standin.put({"id": "cs_1", "object": "checkout.session", "payment_intent": "pi_1"})
    standin.per_second = 5
    text = call(REFUND, standin.url).replace("api_rate: 100000/s", "api_rate: 4/s")
    text = text.replace("    actions:", "    fetch: {again: true}\n    actions:", 1)
    async with gateway(tmp_path, text) as running:
        for number in range(3):
            await running.post(order(id=f"evt_{number}"))
        await running.until_finished()
    paths = [asked.path for asked in standin.requests]
    assert sorted(paths) == ["/v1/checkout/sessions/cs_1"] * 3 + ["/v1/refunds"] * 3  # none was answered 429


FAULTS: dict[str, list[Fault]] = {  # one for each time that the library asks; then what is asked is done
    "the connection breaks off": [Fault(drop=True)] * 3,
    "no answer within `timeout`": [Fault(hang=True)],
    "it answers 409 or 5xx": [Fault(409, "in use", "lock_timeout"), Fault(500), Fault(503)],
    "its answer was lost, and the write is done": [Fault(drop=True, is_done=True)],
    "it does not accept the key": [Fault(401, "Invalid API Key provided")],
    "the key may not do that, or it refuses the request, by another 4xx": [Fault(403, "no permission", "more_needed")],
    "the event is of the other mode than the key": [],
    "it answers 429": [Fault(429, "Too many requests", "rate_limit")] * 3,  # the last: all requests wait
}
AWAY = "nobody listens there"


async def happens_to(running: InProcess, event: dict[str, Any]) -> str:
    """What becomes of it, in the words of the page."""
    await running.post(event)
    sql = "SELECT d.state FROM deliveries d JOIN events e ON e.seq = d.event_seq WHERE d.attempts > 0 AND e.id = "
    ended = await until(lambda: [r for r in running.rows(f"{sql}'{event['id']}'") if r != ("running",)])
    return str(ended[0][0]).replace("pending", "retried")


async def test_what_becomes_of_each_fault_is_what_the_page_says(tmp_path: Path, standin: StripeStandin) -> None:
    def once(url: str) -> str:
        text = call(REFUND, url).replace("        with:", "        timeout: 4s\n        with:")
        return text.replace("first: 50ms, factor: 1", "first: 1h")

    seen = {}
    async with gateway(tmp_path, once(standin.url)) as running:
        for number, (fault, answers) in enumerate(FAULTS.items()):
            standin.faults.extend(answers)
            order_of = {"id": f"cs_{number}", "payment_intent": f"pi_{number}"}
            is_live = fault.startswith("the event is")
            event = make_event("checkout.session.completed", id=f"evt_{number}", object=order_of, livemode=is_live)
            seen[fault] = await happens_to(running, event)
            standin.faults.clear()
    (tmp_path / "away").mkdir()
    async with gateway(tmp_path / "away", once(f"http://127.0.0.1:{free_port()}")) as running:
        seen[AWAY] = await happens_to(running, order(id="evt_1"))
    assert seen == fault_rows("stripe")
