"""Tokens with a scope: over every route of the API and every page of the console, nothing of others shows or changes,
and what is others' cannot be told from what is not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import DummyCookieJar
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from gateway.admin.app import SCOPES, make_app
from gateway.admin.auth import Access, Role
from gateway.admin.request import PARTS
from gateway.core.model import (
    DeliveryFilter,
    EventFilter,
    Lane,
    PlannedDelivery,
    RejectedBounds,
    RejectedFilter,
    RejectedRequest,
    Scope,
)
from gateway.store.postgres.store import PostgresStore
from gateway.store.protocol import Store
from gateway.testing import make_event
from tests.acceptance.console import OPERATOR, VIEWER
from tests.console_parts import died, keep, parts_of, sqlite_inbox

CONFIG = f"""
version: 1
server: {{listen: "127.0.0.1:8080"}}
admin: {{listen: "127.0.0.1:8081", token: {OPERATOR}, viewer_token: {VIEWER}}}
accounts:
  mine: {{signing_secrets: [whsec_of_my_account_1234]}}
  foreign: {{signing_secrets: [whsec_of_the_other_one_12]}}
connections:
  mine_hook: {{type: http, url: "http://127.0.0.1:9/mine", allow_private: true}}
  foreign_hook: {{type: http, url: "http://127.0.0.1:9/foreign", allow_private: true}}
  between_hook: {{type: http, url: "http://127.0.0.1:9/between", allow_private: true}}
routes:
  my_route:
    accounts: [mine]
    events: [checkout.session.completed]
    actions:
      ship: {{uses: http_forward, with: {{connection: mine_hook}}}}
      tell: {{uses: http_forward, with: {{connection: between_hook}}}}
  foreign_route:
    accounts: [foreign]
    events: [checkout.session.completed]
    actions: {{ship: {{uses: http_forward, with: {{connection: foreign_hook}}}}}}
  between_route:
    events: [checkout.session.completed]
    actions: {{tell: {{uses: http_forward, with: {{connection: between_hook}}}}}}
"""
SCOPES_BY_NAME = {
    scope.name: scope
    for scope in (
        Scope("by-account", accounts=("mine",), may_act=True),
        Scope("by-route", routes=("my_route",), may_act=True),
        Scope("by-both", accounts=("mine",), routes=("my_route",), may_act=True),
    )
}
ACCOUNTS_ALONE = "by-account"
ELSEWHERE = {  # what a token with a scope never reaches; the last two of a scope that names routes
    "GET /metrics", "POST /api/v1/customers/forget", "GET /api/v1/config", "GET /api/v1/audit",
    "POST /api/v1/playground", "GET /playground", "POST /playground", "GET /playground/fields", "GET /config",
    "GET /audit",
}  # fmt: skip
OF_ACCOUNTS = {
    "GET /api/v1/accounts", "GET /accounts", "GET /api/v1/rejected", "GET /api/v1/rejected/{id}",
    "POST /api/v1/rejected/verify", "GET /rejected", "GET /rejected/{id}", "POST /rejected/verify",
}  # fmt: skip
LATER = {"GET /live/events", "POST /sign-out", "POST /sign-in", "GET /sign-in", "GET /static/{name}"}
Client = TestClient[Any, Any]


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that ends early, as one may where the machine is busy, says how far it came: that is of the time alone."""
    monkeypatch.setattr("gateway.admin.scoping.store.WALK_SECONDS", 60.0)
    monkeypatch.setattr("gateway.admin.scoping.store.FEW_SECONDS", 60.0)


class World:
    """An inbox of two teams, the console on it, and what of it is whose."""

    def __init__(self, client: Client, store: Store, scope: Scope) -> None:
        self.client, self.store, self.scope = client, store, scope
        self.own: dict[str, str] = {}
        self.foreign: dict[str, str] = {}

    @property
    def markers(self) -> list[str]:
        """Words that stand in what is others' alone."""
        words = ["foreign", "whsec_", *(name for kind, name in self.foreign.items() if kind != "name")]
        return [*words, "between_route", "evt_between"] if self.scope.routes else words

    async def ask(self, method: str, path: str, body: object = None, token: str = "") -> tuple[int, str]:
        """The status and the text of an answer; of a page that leads on, where to."""
        headers = {"Authorization": f"Bearer {token or self.scope.name}"}
        sent: dict[str, Any] = {} if body is None else {"json": body} if "/api/" in path else {"data": body}
        async with self.client.request(method, path, headers=headers, allow_redirects=False, **sent) as answer:
            return answer.status, answer.headers.get("Location", "") + await answer.text()

    async def state_of_others(self) -> object:
        """All that is not the scope's, whole."""
        own = set(self.own.values())
        deliveries = await self.store.deliveries(DeliveryFilter(), limit=100)
        events = await self.store.events(EventFilter(), limit=100)
        statuses = dict(await self.store.connections())
        for name in ("mine_hook", "route my_route"):
            statuses.pop(name, None)
        rejected = await self.store.rejected(RejectedFilter(accounts=("foreign",)), limit=100)
        lanes = [(d.route, d.event_id, d) for d in deliveries if d.id not in own and d.route != "my_route"]
        return lanes if self.scope.routes else [d for *_, d in lanes if d.account != "mine"], events, statuses, rejected

    def routes(self) -> list[str]:
        """Every route of the admin listener, as `GET /events/{id}`."""
        assert self.client.app is not None
        return sorted(
            f"{route.method} {re.sub(r':[^}]*', '', route.resource.canonical)}"
            for route in self.client.app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every scope on SQLite, and what decides whether others' is told or changed on PostgreSQL too."""
    if "world" in metafunc.fixturenames:
        places = [(name, "sqlite") for name in SCOPES_BY_NAME]
        if metafunc.function in DECISIVE:
            places += [("by-account", "postgresql"), ("by-route", "postgresql")]
        metafunc.parametrize(("scope", "kind"), places)


@pytest.fixture
def inbox(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> AbstractAsyncContextManager[Store]:
    """To be entered, started."""
    if kind == "sqlite":
        return sqlite_inbox(tmp_path)
    return postgres_inbox(request.getfixturevalue("inbox_url"))


@asynccontextmanager
async def postgres_inbox(url: str) -> AsyncIterator[Store]:
    store = PostgresStore(url)
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def world(
    scope: str, inbox: AbstractAsyncContextManager[Store], tmp_path: Path, aiohttp_client: AiohttpClient
) -> AsyncIterator[World]:
    async with inbox as store:
        parts = parts_of(tmp_path, store, CONFIG)
        tokens = {scope: scope.name for scope in SCOPES_BY_NAME.values()}
        parts = replace(parts, access=Access({Role.VIEWER: VIEWER, Role.OPERATOR: OPERATOR}, tokens))
        app = make_app(parts, structlog.get_logger())
        world = World(await aiohttp_client(app, cookie_jar=DummyCookieJar()), store, SCOPES_BY_NAME[scope])
        await _fill(world)
        yield world
        await app[SCOPES].close()
        await parts.tail.close()
        await parts.operations.jobs.close()


async def _fill(world: World) -> None:
    store, mine, foreign = world.store, world.own, world.foreign
    for name, account, routes in (
        ("evt_mine", "mine", ("my_route", "between_route")),
        ("evt_between", "mine", ("between_route",)),
        ("evt_foreign", "foreign", ("foreign_route", "between_route")),
    ):
        event = make_event("checkout.session.completed", id=name, account=None)
        event["data"]["object"].update(id=f"cs_of_{name}", amount_total=4500, client_reference_id=f"{name}-secret")
        action = {"between_route": "tell"}
        planned = [PlannedDelivery(route=route, action=action.get(route, "ship")) for route in routes]
        await keep(store, event, planned, account=account)
    mine["delivery"] = await died(store, Lane("mine", "my_route", "ship"), "HTTP 500 of my own")
    foreign["delivery"] = await died(store, Lane("foreign", "foreign_route", "ship"), "HTTP 500 foreign-cause")
    mine["event"], foreign["event"] = "evt_mine", "evt_foreign"
    for account, ids in (("mine", mine), ("foreign", foreign)):
        ids["rejected"] = f"rej_{account}"
        body = json.dumps({"id": f"evt_{account}_rejected", "object": "event"}).encode()
        request = RejectedRequest(
            f"rej_{account}", datetime.now(UTC), account, "no_match", "10.0.0.1", "10.0.0.1", None, "t=1,v1=0", 9, body
        )
        await store.keep_rejected([request], RejectedBounds(10, 10**6, 10**6))
    mine["name"], foreign["name"] = "mine", "foreign"
    # An operator's own change to many, and pauses: of a connection of others, and of one that is shared.
    status, text = await world.ask(
        "POST", "/api/v1/jobs", {"what": "cancel", "deliveries": {"event": ["evt_foreign_nothing"]}}, OPERATOR
    )
    assert status == 200, text
    foreign["job"] = json.loads(text)["job"]["id"]
    for name in ("foreign_hook", "between_hook"):
        await world.ask("POST", f"/api/v1/connections/{name}/pause", {"reason": "a foreign reason"}, OPERATOR)


def filled(route: str, ids: Mapping[str, str], connection: str, named_route: str) -> tuple[str, str]:
    """Method and path of a route with the names of its path filled in."""
    method, _, path = route.partition(" ")
    kind = next((k for k in ("events", "deliveries", "rejected", "jobs") if f"/{k}/" in path), "")
    known = {"events": "event", "deliveries": "delivery", "rejected": "rejected", "jobs": "job"}
    values = {
        "{id}": ids.get(known.get(kind, ""), "none"), "{what}": "pause", "{answer}": "approve", "{token}": "none",
        "{name}": named_route if "/routes/" in path else connection,
    }  # fmt: skip
    for placeholder, value in values.items():
        path = path.replace(placeholder, value)
    return method, path


def body_of(route: str, ids: Mapping[str, str], account: str, named_route: str) -> dict[str, Any] | None:
    """What is sent to change what these names name."""
    delivery, event = ids["delivery"], ids["event"]
    bodies: dict[str, dict[str, Any]] = {
        "POST /api/v1/events/replay": {"events": [{"id": event}], "routes": [named_route]},
        "POST /api/v1/deliveries/retry": {"ids": [delivery]},
        "POST /api/v1/deliveries/cancel": {"ids": [delivery]},
        "POST /api/v1/jobs": {"what": "cancel", "deliveries": {"id": [delivery]}},
        "POST /api/v1/rejected/verify": {"id": [ids["rejected"]], "account": [account]},
        "POST /events/replay": {"account": account},
        "POST /deliveries/many": {"what": "cancel", "id": delivery},
        "POST /rejected/verify": {"id": ids["rejected"]},
        "POST /customers/forget": {"customer": "cus_1"},
    }
    return bodies.get(route, {} if route.startswith("POST") else None)


def reached(world: World) -> list[str]:
    """The routes that the scope's token comes to."""
    others = ELSEWHERE | (OF_ACCOUNTS if world.scope.routes else set())
    return [route for route in world.routes() if route not in others | LATER]


async def test_what_is_for_no_scope_is_refused_and_a_new_route_is_until_somebody_has_judged_it(world: World) -> None:
    refused = ELSEWHERE | (OF_ACCOUNTS if world.scope.routes else set())
    for route in sorted(refused):
        status, text = await world.ask(*filled(route, world.own, "mine_hook", "my_route"), body={})
        if status == 405:
            status, text = await world.ask(*filled(route, world.own, "mine_hook", "my_route"))
        assert status == 403, (route, status, text)
        assert "has a scope, and this tells of more than is its own" in text


async def test_no_route_shows_anything_of_others(world: World) -> None:
    """Each list and page as it comes, and each of one's own things."""
    for route in reached(world):
        if not route.startswith("GET"):
            continue
        method, path = filled(route, world.own, "mine_hook", "my_route")
        for query in (
            "",
            "?range=7d",
            "?limit=500&oldest_first=true",
            "?by=route",
            "?outcome=dead",
            "?q=4500",
            "?q=45.00+usd",
        ):
            status, text = await world.ask(method, path + query)
            assert status in (200, 303, 404, 422), (route, status, text)
            leaked = [word for word in world.markers if word in text]
            assert leaked == [], (route, query, leaked, text)


ABSENT = {
    "event": "evt_abs_ent", "delivery": "dlv_" + "0" * 20, "rejected": "rej_abs_ent", "job": "0" * 12,
    "name": "abs_ent",
}  # fmt: skip


VARIES = re.compile(r"(in )?[0-9]+(\.[0-9]+)? (ms|s|min|h|d)\b( ago)?|\bnow\b|[0-9a-f]{8,}|[0-9.]+")
"""What tells of the time, and random ids."""
NAMELESS = {"GET /", "GET /charts", "GET /api/v1/overview"}  # they are asked for nothing by its name


async def test_what_is_others_cannot_be_told_from_what_is_not_there(world: World) -> None:
    """Asked for by its name in a path, a query or a body."""
    absent = (ABSENT, "abs_ent_hook", "abs_ent_route")
    for route in sorted(set(reached(world)) - NAMELESS):
        answers = []
        for ids, hook, named in ((world.foreign, "foreign_hook", "foreign_route"), absent):
            method, path = filled(route, ids, hook, named)
            queries = [
                f"?account={ids['name']}", f"?q={ids['event']}", f"?q={ids['delivery']}", f"?q=cs_of_{ids['event']}",
                f"?route={named}", f"?event={ids['event']}", f"?connection={hook}", f"?text={ids['event']}-secret",
                f"?id={ids['delivery']}", f"?object=cs_of_{ids['event']}", f"?id={ids['rejected']}",
            ]  # fmt: skip
            told = []
            for query in ["", *queries] if method == "GET" else [""]:
                status, text = await world.ask(method, path + query, body_of(route, ids, ids["name"], named))
                for name in (hook, named, *ids.values()):
                    text = text.replace(name, "NAME")
                told.append((query.partition("=")[0], status, VARIES.sub("", text)))
            answers.append(told)
        for foreign, missing in zip(*answers, strict=True):
            assert foreign == missing, route


async def test_nothing_of_others_changes_whatever_is_asked(world: World) -> None:
    before = await world.state_of_others()
    for route in reached(world):
        if not route.startswith("POST"):
            continue
        for connection in ("foreign_hook", "between_hook"):
            method, path = filled(route, world.foreign, connection, "foreign_route")
            status, text = await world.ask(method, path, body_of(route, world.foreign, "foreign", "foreign_route"))
            assert status in (200, 303, 403, 404, 409, 415, 422), (route, status, text)
    assert await world.state_of_others() == before


async def test_a_team_retries_cancels_and_replays_what_is_its_own(world: World) -> None:
    status, text = await world.ask(
        "POST", "/api/v1/deliveries/retry", {"ids": [world.own["delivery"], world.foreign["delivery"]]}
    )
    assert status == 200
    assert [(r["done"], r["refused"]) for r in json.loads(text)["results"]] == [
        (True, None),
        (False, "there is no such delivery"),
    ]
    status, text = await world.ask("POST", "/api/v1/events/replay", {"events": [{"id": "evt_mine"}]})
    (replayed,) = json.loads(text)["results"]
    own = {"my_route/ship", "my_route/tell"}
    assert set(replayed["owed"]) == (own if world.scope.routes else own | {"between_route/tell"})
    status, text = await world.ask(
        "POST", "/api/v1/jobs", {"what": "replay", "events": {"type": ["checkout.*"]}, "dry_run": True}
    )
    assert json.loads(text)["count"] == (1 if world.scope.routes else 2)
    status, text = await world.ask("POST", "/api/v1/connections/mine_hook/pause", {})
    assert (status, json.loads(text)["state"]) == (200, "paused")
    entry = json.loads((await world.ask("GET", "/api/v1/audit", token=OPERATOR))[1])["items"][0]
    assert (entry["role"], entry["what"]) == (f"token {world.scope.name}", "connection.pause")


async def test_what_is_shared_can_be_seen_and_not_paused(world: World) -> None:
    """A pause would hold up deliveries of others."""
    (shared,) = [
        connection
        for connection in json.loads((await world.ask("GET", "/api/v1/connections"))[1])["items"]
        if connection["name"] == "between_hook"
    ]
    assert (shared["state"], shared["reason"]) == ("paused", "it is shared with routes of others")
    status, text = await world.ask("POST", "/api/v1/connections/between_hook/resume")
    assert status == 403
    assert "between_hook also has deliveries that your token does not see: ask an operator" in text


async def test_lists_and_figures_count_what_is_its_own(world: World) -> None:
    is_by_route = bool(world.scope.routes)
    events = json.loads((await world.ask("GET", "/api/v1/events"))[1])["items"]
    assert [event["id"] for event in events] == (["evt_mine"] if is_by_route else ["evt_between", "evt_mine"])
    deliveries = json.loads((await world.ask("GET", "/api/v1/deliveries"))[1])["items"]
    assert len(deliveries) == (1 if is_by_route else 3)
    overview = json.loads((await world.ask("GET", "/api/v1/overview"))[1])
    assert (overview["dead"], overview["dead_letters"], overview["store_bytes"]) == (1, 1, None)
    assert overview["pending"] == (0 if is_by_route else 2)
    assert [cause["cause"] for cause in overview["causes"]] == ["HTTP 500 of my own"]
    assert overview["rejected"] == (0 if is_by_route else 1)
    assert sum(sum(bar["events"].values()) for bar in overview["bars"]) == (0 if is_by_route else 2)


async def test_what_a_connection_did_is_shown_where_nobody_else_goes_by_it(world: World) -> None:
    """Nor how long answers to Stripe take, which is of all accounts."""
    assert world.client.app is not None
    parts = world.client.app[PARTS]
    for action in ("ship", "tell"):
        parts.metrics.attempt("my_route", action, "dead", 0.3)
    parts.metrics.event("foreign", "invoice.paid", "routed", 0.004, 0.003)
    await parts.samples.take(await world.store.lane_states(), datetime.now(UTC))
    page = (await world.ask("GET", "/connections"))[1]
    assert re.findall(r'aria-label="How long attempts on (\w+) take"', page) == ["mine_hook"]
    assert "1 failed; most at" in page
    overview = (await world.ask("GET", "/"))[1]
    assert ("From event to done" in overview, "From request to answer" in overview, ">Queue<" in overview) == (
        True, False, False
    )  # fmt: skip
    bars = json.loads((await world.ask("GET", "/api/v1/overview?range=1h"))[1])["bars"]
    assert {bar["waiting"] for bar in bars} | {bar["answer_p99_seconds"] for bar in bars} == {None}
    whole = (await world.ask("GET", "/", token=OPERATOR))[1]
    assert ("From request to answer" in whole, ">Queue<" in whole) == (True, True)


async def test_an_event_with_several_deliveries_stands_on_one_page_alone(world: World) -> None:
    for number in range(5):
        event = make_event("checkout.session.completed", id=f"evt_more_{number}")
        planned = [PlannedDelivery(route="my_route", action=action) for action in ("ship", "tell")]
        await keep(world.store, event, planned, account="mine")
    seen: list[str] = []
    for order in ("", "&oldest_first=true"):
        cursor, listed = "", list[str]()
        while cursor is not None:
            page = json.loads((await world.ask("GET", f"/api/v1/events?limit=3&cursor={cursor}{order}"))[1])
            listed += [event["id"] for event in page["items"] if event["id"] != "evt_between"]
            cursor = page["next"]
        seen += listed
    newest = [f"evt_more_{number}" for number in (4, 3, 2, 1, 0)] + ["evt_mine"]
    assert seen == newest + newest[::-1]


async def test_the_live_list_shows_what_is_its_own(world: World) -> None:
    assert world.client.app is not None
    store = world.client.app[SCOPES].parts(world.scope).store
    cursor = (await store.arrivals(None, limit=2)).cursor
    for account, route in (("foreign", "foreign_route"), ("mine", "my_route"), ("mine", "between_route")):
        event = make_event("checkout.session.completed", id=f"evt_live_{route}")
        await keep(world.store, event, [PlannedDelivery(route=route, action="ship")], account=account)
    arrived = await store.arrivals(cursor, limit=1)
    assert arrived.left_out == (0 if world.scope.routes else 1)
    assert [event.id for event in arrived.events] == [
        "evt_live_my_route" if world.scope.routes else "evt_live_between_route"
    ]


async def test_a_session_of_a_scope_stays_within_it(world: World) -> None:
    async with world.client.post("/sign-in", data={"token": world.scope.name}, allow_redirects=False) as answer:
        cookie = answer.cookies["gateway_session"].value
    headers = {"Cookie": f"gateway_session={cookie}"}
    async with world.client.get("/", headers=headers) as answer:
        page = await answer.text()
    assert f"token {world.scope.name}" in page
    assert 'href="/config"' not in page
    async with world.client.get("/config", headers=headers) as answer:
        assert answer.status == 403
    async with world.client.get("/api/v1/deliveries", headers=headers) as answer:
        assert {delivery["account"] for delivery in (await answer.json())["items"]} == {"mine"}


async def test_a_page_that_others_fill_does_not_tell_that_they_are_there(world: World) -> None:
    for number in range(3):
        event = make_event("checkout.session.completed", id=f"evt_theirs_{number}")
        event["data"]["object"].update(id="cs_theirs", client_reference_id="only-in-theirs")
        await keep(world.store, event, [PlannedDelivery(route="foreign_route", action="ship")], account="foreign")
    for query in ("object=cs_theirs", "text=only-in-theirs"):
        page = json.loads((await world.ask("GET", f"/api/v1/events?{query}&limit=1"))[1])
        assert (page["items"], page["next"], page["searched_until"]) == ([], None, None), query


async def test_why_a_shared_route_is_paused_is_not_told(world: World) -> None:
    await world.ask("POST", "/api/v1/routes/between_route/pause", {"reason": "a foreign reason"}, OPERATOR)
    for path in ("/api/v1/routes", "/routes", "/api/v1/deliveries"):
        assert "a foreign reason" not in (await world.ask("GET", path))[1]


DECISIVE = (
    test_no_route_shows_anything_of_others,
    test_nothing_of_others_changes_whatever_is_asked,
    test_a_team_retries_cancels_and_replays_what_is_its_own,
    test_lists_and_figures_count_what_is_its_own,
    test_an_event_with_several_deliveries_stands_on_one_page_alone,
    test_the_live_list_shows_what_is_its_own,
)
