"""One trace from Stripe's request to what was sent, as a real exporter sends it to a collector."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.core.model import DONE
from gateway.testing import make_event, signed_request
from tests.collector import Collector, Received
from tests.http_service import Serve
from tests.in_process import SECRET, InProcess, config, gateway
from tests.stripe_standin import StripeStandin
from tests.waiting import until

CONFIG = """\
version: 1
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0"}}
store: {{url: "sqlite:///inbox.db"}}
{tracing}
defaults: {{retry: {{attempts: 3, first: 20ms, factor: 1}}}}
accounts: {{acme: {{signing_secrets: [whsec_in_process]}}}}
connections:
  shop: {{type: http, url: "{url}/hooks", allow_private: true, breaker: false}}
  sales: {{type: slack, webhook_url: "{url}/services/T0/B0/slack-secret", breaker: false}}
routes:
  fulfil:
    events: [checkout.session.completed]
    actions:
      ship: {{uses: http_forward, with: {{connection: shop, url: "/for/{{{{ object.customer_details.email }}}}"}}}}
      tell:
        uses: slack
        needs: [ship]
        with: {{connection: sales, text: "for {{{{ object.customer_details.email }}}}"}}
"""
TRACED = 'tracing: {{endpoint: "{url}", service: shop-eu, headers: {{Authorization: Bearer collector-secret}}{more}}}'
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE_ID, SPAN_ID = PARENT.split("-")[1:3]


class Destination:
    """Takes forwards and Slack's messages; answers what it is told to, in turn, then 200."""

    def __init__(self) -> None:
        self.url = ""
        self.statuses: list[int] = []
        self.got: list[tuple[str, dict[str, str]]] = []

    async def take(self, request: web.BaseRequest) -> web.Response:
        body = await request.text()
        self.got.append((request.path, dict(request.headers)))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, text=f"answered with {body}")

    def parents(self) -> list[str]:
        return [headers["traceparent"] for _, headers in self.got]


@pytest.fixture
async def destination(serve: Serve) -> Destination:
    destination = Destination()
    destination.url = await serve(destination.take)
    return destination


@asynccontextmanager
async def traced(
    folder: Path, destination: Destination, collector: Collector | str | None, more: str = ""
) -> AsyncIterator[InProcess]:
    url = collector.url if isinstance(collector, Collector) else collector
    tracing = "" if url is None else TRACED.format(url=url, more=more)
    async with gateway(folder, CONFIG.format(tracing=tracing, url=destination.url)) as running:
        yield running


async def post(running: InProcess, event: dict[str, Any], **headers: str) -> int:
    body = json.dumps(event).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{running.url}/webhooks/acme", data=body, headers={**signed_request(body, SECRET), **headers}
        ) as response,
    ):
        return response.status


def is_sampled(traceparent: str) -> bool:
    return int(traceparent.split("-")[3], 16) & 1 == 1


def named(spans: list[Received], name: str) -> Received:
    (found,) = [span for span in spans if span.name == name]
    return found


def logged(running: InProcess, event: str) -> list[dict[str, Any]]:
    return [call.kwargs for call in running.log.calls if call.args == (event,)]


async def test_one_trace_from_the_request_to_what_was_sent(
    tmp_path: Path, destination: Destination, collector: Collector
) -> None:
    event = make_event()
    async with traced(tmp_path, destination, collector) as running:
        await running.post(event)
        await running.until_finished()
        spans = await collector.until(6)
    request, commit = named(spans, "POST /webhooks/{account}"), named(spans, "commit inbox")
    ship, tell = named(spans, "process fulfil.ship"), named(spans, "process fulfil.tell")
    sent = [span for span in spans if span.name == "POST"]
    assert [span.parent_id for span in (request, commit, ship, tell, *sent)] == [
        "", request.span_id, commit.span_id, commit.span_id, ship.span_id, tell.span_id,
    ]  # fmt: skip
    assert {span.trace_id for span in spans} == {request.trace_id}
    kinds = [span.kind for span in (request, commit, ship, tell, *sent)]
    assert kinds == ["SERVER", "PRODUCER", "CONSUMER", "CONSUMER", "CLIENT", "CLIENT"]
    assert [parent.split("-")[:3] for parent in destination.parents()] == [
        ["00", span.trace_id, span.span_id] for span in sent
    ]
    assert all(is_sampled(parent) for parent in destination.parents())
    assert request.start_ns <= commit.start_ns <= commit.end_ns <= request.end_ns <= tell.start_ns
    assert request.resource["service.name"] == "shop-eu"
    assert collector.headers[0]["Authorization"] == "Bearer collector-secret"


async def test_spans_say_what_the_conventions_ask_for(
    tmp_path: Path, destination: Destination, collector: Collector
) -> None:
    event = make_event()
    async with traced(tmp_path, destination, collector) as running:
        await running.post(event)
        await running.until_finished()
        spans = await collector.until(6)
        ((delivery_id,),) = running.rows("SELECT id FROM deliveries WHERE action = 'ship'")
    about = {
        "gateway.account": "acme",
        "gateway.event.id": event["id"],
        "gateway.event.type": "checkout.session.completed",
    }
    assert named(spans, "POST /webhooks/{account}").attributes == about | {
        "http.request.method": "POST",
        "http.route": "/webhooks/{account}",
        "http.response.status_code": 200,
        "url.path": "/webhooks/acme",
        "url.scheme": "http",
        "gateway.event.outcome": "routed",
    }
    assert named(spans, "commit inbox").attributes == about | {
        "messaging.system": "stripe_fulfilment_gateway",
        "messaging.operation.name": "commit",
        "messaging.operation.type": "send",
        "messaging.destination.name": "inbox",
        "messaging.message.id": event["id"],
        "messaging.message.body.size": len(json.dumps(event)),
    }
    ship = dict(named(spans, "process fulfil.ship").attributes)
    assert 0 <= ship.pop("gateway.delivery.age_seconds") < 60
    assert ship == about | {
        "messaging.system": "stripe_fulfilment_gateway",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "fulfil.ship",
        "messaging.message.id": delivery_id,
        "gateway.route": "fulfil",
        "gateway.action": "ship",
        "gateway.delivery.id": delivery_id,
        "gateway.delivery.state": "succeeded",
        "gateway.attempt.number": 1,
        "gateway.attempt.outcome": "succeeded",
    }
    port = int(destination.url.rpartition(":")[2])
    assert [span.attributes for span in spans if span.name == "POST"] == 2 * [
        {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "server.address": "127.0.0.1",
            "server.port": port,
            "url.full": f"{destination.url}/REDACTED",
        }
    ]


async def test_each_retry_is_a_span_of_the_same_trace(
    tmp_path: Path, destination: Destination, collector: Collector
) -> None:
    destination.statuses = [503, 400]
    async with traced(tmp_path, destination, collector) as running:
        await running.post(make_event())
        await running.until("SELECT state FROM deliveries ORDER BY seq", [("dead",), ("blocked",)])
        spans = await collector.until(6)
    first, second = [span for span in spans if span.name == "process fulfil.ship"]
    assert first.parent_id == second.parent_id == named(spans, "commit inbox").span_id
    assert first.attributes["gateway.attempt.number"] == 1
    assert first.attributes["gateway.attempt.outcome"] == "retry"
    assert 0.015 < first.attributes["gateway.attempt.retry_in_seconds"] < 0.025
    assert first.attributes["error.type"] == "Retry"
    assert second.attributes["gateway.attempt.number"] == 2
    assert second.attributes["gateway.attempt.outcome"] == "dead"
    assert second.attributes["error.type"] == "Reject"
    sent = [span.attributes for span in spans if span.name == "POST"]
    assert [span["error.type"] for span in sent] == ["503", "400"]
    assert all(span.is_error for span in spans if span.name in ("POST", "process fulfil.ship"))


async def test_a_proxys_trace_is_gone_on(tmp_path: Path, destination: Destination, collector: Collector) -> None:
    async with traced(tmp_path, destination, collector, ", ratio: 0") as running:
        assert await post(running, make_event(), traceparent=PARENT, tracestate="vendor=a, other=b") == 200
        await running.until_finished()
        spans = await collector.until(6)
    assert {span.trace_id for span in spans} == {TRACE_ID}
    assert named(spans, "POST /webhooks/{account}").parent_id == SPAN_ID
    assert [headers["tracestate"] for _, headers in destination.got] == 2 * ["vendor=a,other=b"]


@pytest.mark.parametrize(
    "bad",
    [
        PARENT + "-more",
        PARENT.replace("4bf9", "4BF9"),
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        PARENT.replace("00-", "ff-", 1),
        f"{PARENT}, {PARENT}",
        "x" * 2000,
    ],
)
async def test_a_bad_traceparent_begins_a_trace_anew(
    tmp_path: Path, destination: Destination, collector: Collector, bad: str
) -> None:
    async with traced(tmp_path, destination, collector) as running:
        assert await post(running, make_event("customer.created"), traceparent=bad) == 200
        spans = await collector.until(2)
    assert named(spans, "POST /webhooks/{account}").parent_id == ""
    assert spans[0].trace_id != TRACE_ID


async def test_what_is_not_sampled_stays_so_everywhere(
    tmp_path: Path, destination: Destination, collector: Collector
) -> None:
    async with traced(tmp_path, destination, collector, ", ratio: 0") as running:
        await post(running, make_event(), traceparent=PARENT[:-1] + "0")
        await running.post(make_event())
        await running.until_finished()
        ours = {row[0].split("-")[1] for row in running.rows("SELECT trace FROM events")}
    assert collector.spans == []
    assert TRACE_ID in ours
    assert {parent.split("-")[1] for parent in destination.parents()} == ours
    assert len(destination.got) == 4
    assert not any(is_sampled(parent) for parent in destination.parents())


async def test_a_trace_survives_a_restart_and_another_gateway(
    tmp_path: Path, destination: Destination, collector: Collector
) -> None:
    destination.statuses = [503] * 3
    async with traced(tmp_path, destination, collector) as running:
        await running.post(make_event())
        await running.until("SELECT state FROM deliveries ORDER BY seq", [("dead",), ("blocked",)])
    before = await collector.until(8)
    async with traced(tmp_path, destination, collector) as running:
        ((delivery_id,),) = running.rows("SELECT id FROM deliveries WHERE action = 'ship'")
        assert await running.store.retry([delivery_id]) == {delivery_id: DONE}
        await running.until_finished()
    spans = await collector.until(12)
    assert {span.trace_id for span in spans} == {before[0].trace_id}
    assert {span.parent_id for span in spans if span.name.startswith("process")} == {
        named(spans, "commit inbox").span_id
    }


async def test_an_event_from_before_tracing_has_traces_of_its_attempts(
    tmp_path: Path, destination: Destination, collector: Collector
) -> None:
    destination.statuses = [400]
    async with traced(tmp_path, destination, None) as running:
        await running.post(make_event())
        await running.until("SELECT state FROM deliveries ORDER BY seq", [("dead",), ("blocked",)])
        assert running.rows("SELECT trace FROM events") == [(None,)]
        assert "traceparent" not in destination.got[0][1]
    async with traced(tmp_path, destination, collector) as running:
        await running.store.retry([row[0] for row in running.rows("SELECT id FROM deliveries WHERE action = 'ship'")])
        await running.until_finished()
    spans = await collector.until(4)
    assert [span.parent_id == "" for span in spans] == [True, False, True, False]


async def test_a_duplicate_is_a_trace_of_its_own(
    tmp_path: Path, destination: Destination, collector: Collector
) -> None:
    event = make_event("customer.created")
    async with traced(tmp_path, destination, collector) as running:
        await running.post(event)
        await running.post(event)
        spans = await collector.until(4)
    outcomes = [span.attributes.get("gateway.event.outcome") for span in spans if span.kind == "SERVER"]
    assert outcomes == ["unmatched", "duplicate"]
    assert len({span.trace_id for span in spans}) == 2


async def test_refused_requests_are_not_traced(tmp_path: Path, destination: Destination, collector: Collector) -> None:
    async with traced(tmp_path, destination, collector) as running:
        body = b"{}"
        async with aiohttp.ClientSession() as session:
            for headers in ({}, signed_request(body, "whsec_wrong"), signed_request(body, SECRET)):
                await session.post(
                    f"{running.url}/webhooks/acme", data=body, headers={**headers, "traceparent": PARENT}
                )
    assert collector.spans == []


async def test_no_secret_no_body_and_no_address_is_in_a_span(
    tmp_path: Path, destination: Destination, collector: Collector
) -> None:
    """The destination echoes what it got, so that errors quote it."""
    destination.statuses = [503, 400, 200]
    planted = {"email": "planted@customer.example", "name": "Planted Name", "phone": "+4930123456"}
    event = make_event(object={"customer_details": planted, "metadata": {"key": "sk_live_planted"}})
    async with traced(tmp_path, destination, collector) as running:
        await running.post(event)
        await running.until("SELECT state FROM deliveries ORDER BY seq", [("dead",), ("blocked",)])
        ((error,),) = running.rows("SELECT reason FROM deliveries WHERE action = 'ship'")
        assert "checkout.session" in error or "planted" in error.lower() or "evt_" in error  # the answer is quoted here
        await running.store.retry([row[0] for row in running.rows("SELECT id FROM deliveries WHERE action = 'ship'")])
        await running.until_finished()
    spans = await collector.until(10)
    told = str([dataclasses.asdict(span) for span in spans]).encode() + collector.raw
    for word in ("planted", "4930123456", "collector-secret", "slack-secret", "services", "answered", SECRET, "/for/"):
        assert word.encode().lower() not in told.lower(), word
    assert all(span.events == 0 and span.message == "" for span in spans)


async def test_log_lines_bear_the_trace(tmp_path: Path, destination: Destination, collector: Collector) -> None:
    event = make_event()
    async with traced(tmp_path, destination, collector) as running:
        await post(running, event, traceparent=PARENT)
        await running.until_finished()
        await running.post(event)
    assert [line["trace_id"] for line in logged(running, "event.routed")] == [TRACE_ID]
    assert [line["trace_id"] for line in logged(running, "delivery.succeeded")] == 2 * [TRACE_ID]
    assert logged(running, "event.duplicate")[0]["trace_id"] not in ("", TRACE_ID)


async def test_without_tracing_nothing_bears_a_trace(tmp_path: Path, destination: Destination) -> None:
    async with traced(tmp_path, destination, None) as running:
        await post(running, make_event(), traceparent=PARENT)
        await running.until_finished()
        assert running.rows("SELECT trace FROM events") == [(None,)]
    assert all("traceparent" not in headers for _, headers in destination.got)
    assert not any("trace_id" in call.kwargs for call in running.log.calls)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("away", "is not reached (ConnectionError)"),
        ("failing", "answered 500"),
        ("elsewhere", "answered 302"),
        ("hanging", "is not reached (ReadTimeout)"),
    ],
)
async def test_a_collector_that_does_not_work_delays_nothing(
    tmp_path: Path, destination: Destination, collector: Collector, how: str, reason: str
) -> None:
    release = asyncio.Event()

    async def fail() -> web.Response:
        return web.Response(status=500)

    async def hang() -> web.Response:
        await release.wait()
        return web.Response()

    async def redirect() -> web.Response:
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    collector.answer = {"failing": fail, "hanging": hang, "elsewhere": redirect}.get(how)
    where = collector if how != "away" else "http://127.0.0.1:9"
    async with traced(tmp_path, destination, where, ", timeout: 1s") as running:
        await asyncio.gather(*(running.post(make_event()) for _ in range(50)))
        await running.until_finished()
        assert len(destination.got) == 100
        await until(lambda: logged(running, "tracing.export_failed"))
    release.set()  # it has stopped before that
    assert len(logged(running, "tracing.export_failed")) == 1
    (line,) = logged(running, "tracing.export_failed")
    assert line["lost_spans"] > 0
    assert line["reason"] == f"the collector {reason}"


async def test_the_last_spans_are_sent_at_the_end(
    tmp_path: Path, destination: Destination, collector: Collector
) -> None:
    async with traced(tmp_path, destination, collector) as running:
        await running.post(make_event("customer.created"))
    assert len(collector.spans) == 2


async def test_a_collector_that_hangs_at_the_end_is_left_behind(
    tmp_path: Path, destination: Destination, collector: Collector
) -> None:
    release = asyncio.Event()

    async def hang() -> web.Response:
        await release.wait()
        return web.Response()

    collector.answer = hang
    async with traced(tmp_path, destination, collector, ", timeout: 10m") as running:
        await running.post(make_event("customer.created"))
    release.set()  # it has stopped before that
    assert logged(running, "tracing.not_flushed")


FETCHING = """\
  r:
    events: [customer.updated]
    fetch: true
    actions:
      keep: {uses: quote}
"""
QUOTE = '''
from gateway.plugin import Action, Settings

class Quote(Action):
    """Says what it would send on."""

    name = "quote"

    class Settings(Settings):
        pass

    async def run(self, settings, context):
        return dict(context.trace_headers)
'''


async def test_a_fetch_is_a_span_and_plugins_are_given_the_headers(
    tmp_path: Path, standin: StripeStandin, collector: Collector
) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "quote.py").write_text(QUOTE)
    more = f'plugins: [plugins]\ntracing: {{endpoint: "{collector.url}"}}\n'
    text = config(FETCHING, standin.url).replace("version: 1\n", "version: 1\n" + more)
    standin.put({"id": "cus_1", "object": "customer", "livemode": False})
    async with gateway(tmp_path, text) as running:
        await running.post(make_event("customer.updated", object={"id": "cus_1"}))
        await running.post(make_event("customer.updated", object={"object": "unknown_kind"}))
        await running.until_finished()
        spans = await collector.until(8)
        outputs = [
            json.loads(output) for (output,) in running.rows("SELECT output FROM deliveries ORDER BY seq") if output
        ]
    attempts = {span.span_id: span for span in spans if span.name == "process r.keep"}
    good, bad = [span for span in spans if span.name == "fetch"]
    assert attempts[good.parent_id].trace_id == good.trace_id
    assert (good.kind, good.is_error, bad.is_error) == ("INTERNAL", False, True)
    assert attempts[bad.parent_id].attributes["error.type"] == bad.attributes["error.type"]
    assert outputs[0]["traceparent"].split("-")[1:3] == [good.trace_id, good.parent_id]
    assert all("traceparent" not in {name.lower() for name in asked.headers} for asked in standin.requests)
