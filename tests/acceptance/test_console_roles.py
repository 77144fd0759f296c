"""Who may do what: every route of the admin listener, asked with no token, a wrong one, the viewer's, the operator's.

A new route fails here until it is listed with the role that it needs.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import DummyCookieJar
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from gateway.admin.app import make_app
from gateway.admin.auth import Role
from gateway.admin.outbox import Outbox
from gateway.store.sqlite.store import SqliteStore
from tests.acceptance.console import OPERATOR, VIEWER, config
from tests.console_parts import parts_of

NOBODY, V, O = Role.NOBODY, Role.VIEWER, Role.OPERATOR  # noqa: E741

ROUTES = {
    "GET /metrics": V,
    "GET /api/v1/openapi.json": V,
    "GET /api/v1/overview": V,
    "GET /api/v1/search": V,
    "GET /api/v1/events": V,
    "GET /api/v1/events/{id}": V,
    "POST /api/v1/customers/forget": O,
    "POST /api/v1/events/replay": O,
    "GET /api/v1/deliveries": V,
    "GET /api/v1/deliveries/{id}": V,
    "POST /api/v1/deliveries/retry": O,
    "POST /api/v1/deliveries/cancel": O,
    "POST /api/v1/deliveries/{id}/retry": O,
    "POST /api/v1/deliveries/{id}/cancel": O,
    "POST /api/v1/deliveries/{id}/approve": O,
    "POST /api/v1/deliveries/{id}/refuse": O,
    "GET /api/v1/jobs": V,
    "POST /api/v1/jobs": O,
    "GET /api/v1/jobs/{id}": V,
    "POST /api/v1/jobs/{id}/pause": O,
    "POST /api/v1/jobs/{id}/resume": O,
    "POST /api/v1/jobs/{id}/stop": O,
    "GET /api/v1/config": V,
    "GET /api/v1/accounts": V,
    "GET /api/v1/connections": V,
    "POST /api/v1/connections/{name}/pause": O,
    "POST /api/v1/connections/{name}/resume": O,
    "GET /api/v1/routes": V,
    "POST /api/v1/routes/{name}/pause": O,
    "POST /api/v1/routes/{name}/resume": O,
    "GET /api/v1/rejected": V,
    "GET /api/v1/rejected/{id}": V,
    "POST /api/v1/rejected/verify": O,
    "GET /api/v1/audit": V,
    "POST /api/v1/playground": V,
    "GET /sign-in": NOBODY,
    "POST /sign-in": NOBODY,
    "POST /sign-out": V,
    "GET /static/{name}": NOBODY,
    "GET /": V,
    "GET /search": V,
    "GET /events": V,
    "GET /live/events": V,
    "GET /events/replay": O,
    "POST /events/replay": O,
    "GET /events/{id}": V,
    "GET /events/{id}/raw": V,
    "POST /events/{id}/replay": O,
    "GET /dead-letters": V,
    "GET /deliveries": V,
    "GET /deliveries/many": O,
    "POST /deliveries/many": O,
    "GET /deliveries/{id}": V,
    "GET /deliveries/{id}/mail": V,
    "POST /deliveries/{id}/retry": O,
    "POST /deliveries/{id}/cancel": O,
    "POST /deliveries/{id}/{answer}": O,
    "GET /approve/{token}": NOBODY,
    "POST /approve/{token}": NOBODY,
    "GET /accounts": V,
    "GET /charts": V,
    "GET /connections": V,
    "POST /connections/{name}/pause": O,
    "POST /connections/{name}/resume": O,
    "GET /routes": V,
    "POST /routes/{name}/pause": O,
    "POST /routes/{name}/resume": O,
    "GET /rejected": V,
    "GET /rejected/{id}": V,
    "POST /rejected/verify": O,
    "GET /jobs": V,
    "GET /jobs/{id}": V,
    "POST /jobs/{id}/{what}": O,
    "GET /playground": V,
    "POST /playground": V,
    "GET /playground/fields": V,
    "GET /config": V,
    "GET /audit": V,
    "GET /outbox": V,
    "POST /outbox/send": O,
    "GET /outbox/{number}": V,
    "GET /outbox/{number}/html": V,
}
Client = TestClient[Any, Any]


@pytest.fixture
async def client(store: SqliteStore, tmp_path: Path, aiohttp_client: AiohttpClient) -> AsyncIterator[Client]:
    parts = parts_of(tmp_path, store, config(8080, 8081), Outbox())
    yield await aiohttp_client(make_app(parts, structlog.get_logger()), cookie_jar=DummyCookieJar())
    await parts.tail.close()
    await parts.operations.jobs.close()


def path_of(route: str) -> tuple[str, str]:
    method, _, path = route.partition(" ")
    path = path.replace("{what}", "pause").replace("{number}", "1").replace("{answer}", "approve")
    return method, re.sub(r"\{\w+\}", "none", path)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def cookie(client: Client, token: str) -> dict[str, str]:
    answer = await client.post("/sign-in", data={"token": token}, allow_redirects=False)
    assert answer.status == 303
    return {"Cookie": "gateway_session=" + answer.cookies["gateway_session"].value}


def test_every_route_is_listed_here(client: Client) -> None:
    assert client.app is not None
    found = {
        f"{route.method} {re.sub(r':[^}]*', '', route.resource.canonical)}"
        for route in client.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert found == set(ROUTES)


async def test_nobody_gets_past_sign_in(client: Client) -> None:
    allowed = []
    for route in ROUTES:
        method, path = path_of(route)
        for headers in ({}, {"Cookie": "gateway_session=made.up"}, {"Authorization": "Basic b3BlcmF0b3I6"}):
            answer = await client.request(method, path, headers=headers, allow_redirects=False)
            to_sign_in = answer.status == 303 and answer.headers["Location"].startswith("/sign-in?next=")
            if answer.status not in (401, 403) and not to_sign_in:
                allowed.append(route)
    by_link = {"GET /approve/{token}", "POST /approve/{token}"}  # who has the link of an approval needs no other token
    assert set(allowed) == {"GET /sign-in", "GET /static/{name}", *by_link}
    assert (await client.post("/approve/none", data={"answer": "approve"}, allow_redirects=False)).status == 404


async def test_a_wrong_token_gets_nothing_and_is_locked_out(client: Client) -> None:
    statuses = []
    for route in ROUTES:
        method, path = path_of(route)
        answer = await client.request(method, path, headers=bearer("wrong"), allow_redirects=False)
        statuses.append(answer.status)
        if answer.status == 429:
            assert 0 < int(answer.headers["Retry-After"]) <= 16
    assert statuses[:4] == [401, 401, 401, 401]
    assert set(statuses[6:]) == {429}
    assert (await client.get("/api/v1/events", headers=bearer(OPERATOR))).status == 429
    answer = await client.post("/sign-in", data={"token": OPERATOR}, allow_redirects=False)
    assert answer.status == 429
    assert "Too many wrong tokens. Try again in" in await answer.text()


async def test_a_viewer_can_look_and_nothing_else(client: Client) -> None:
    for headers in (bearer(VIEWER), await cookie(client, VIEWER)):
        for route, role in ROUTES.items():
            if route in ("GET /live/events", "POST /sign-out"):
                continue
            method, path = path_of(route)
            sent = dict(headers)
            if "Cookie" in headers and method == "POST":
                page = await (await client.get("/", headers=headers)).text()
                sent["X-CSRF-Token"] = re.findall(r'name="csrf" value="([0-9a-f]+)"', page)[0]
            answer = await client.request(method, path, headers=sent, json={} if method == "POST" else None)
            assert (answer.status == 403) is (role is O), (route, answer.status, await answer.text())


async def test_an_operator_is_refused_nowhere(client: Client) -> None:
    for route in ROUTES:
        if route in ("GET /live/events", "POST /sign-out", "POST /sign-in"):
            continue
        method, path = path_of(route)
        answer = await client.request(method, path, headers=bearer(OPERATOR), json={} if method == "POST" else None)
        assert answer.status not in (401, 403, 429, 500), (route, answer.status)


async def test_every_change_by_cookie_needs_the_sessions_own_csrf_token(client: Client) -> None:
    mine, others = await cookie(client, OPERATOR), await cookie(client, OPERATOR)
    page = await (await client.get("/", headers=others)).text()
    foreign = re.findall(r'name="csrf" value="([0-9a-f]+)"', page)[0]
    for route in ROUTES:
        method, path = path_of(route)
        if method != "POST" or route == "POST /sign-in":
            continue
        for data in ({}, {"csrf": ""}, {"csrf": foreign}):
            answer = await client.post(path, headers=mine, data=data, allow_redirects=False)
            assert answer.status == 403, (route, data)
            assert "the form is not of this session; load the page again" in await answer.text()
        answer = await client.post(path, headers={**mine, "X-CSRF-Token": foreign}, json={})
        assert answer.status == 403, route


async def test_another_site_cannot_make_a_browser_ask(client: Client) -> None:
    for site in ("cross-site", "same-site"):
        headers = {**bearer(OPERATOR), "Sec-Fetch-Site": site}
        answer = await client.post("/deliveries/dlv_1/retry", headers=headers)
        assert answer.status == 403
        assert "another site sent this request" in await answer.text()


async def test_every_answer_carries_the_headers_that_keep_a_browser_safe(client: Client) -> None:
    for route in ROUTES:
        if route == "GET /live/events":
            continue
        method, path = path_of(route)
        answer = await client.request(method, path, headers=bearer(OPERATOR), allow_redirects=False)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "" if "outbox" in path else "unsafe")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Request-Id"]


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(client: Client) -> None:
    answer = await client.post("/sign-in", data={"token": OPERATOR}, allow_redirects=False)
    (said,) = answer.headers.getall("Set-Cookie")
    assert "HttpOnly" in said
    assert "SameSite=Strict" in said
    assert "Secure" not in said
    answer = await client.post(
        "/sign-in", data={"token": OPERATOR}, headers={"X-Forwarded-Proto": "https"}, allow_redirects=False
    )
    assert "Secure" in answer.headers["Set-Cookie"]
    assert OPERATOR not in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y", ""])
async def test_sign_in_leads_nowhere_else(client: Client, target: str) -> None:
    answer = await client.post("/sign-in", data={"token": VIEWER, "next": target}, allow_redirects=False)
    assert answer.headers["Location"] == "/"


async def test_a_link_from_a_chat_arrives_signed_in(client: Client) -> None:
    answer = await client.get("/deliveries?state=dead", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 200
    assert 'content="0; url=/deliveries?state=dead"' in await answer.text()


async def test_metrics_are_public_only_where_the_config_says_so(
    store: SqliteStore, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    public = config(8080, 8081).replace("viewer_token", "metrics_public: true, viewer_token")
    client = await aiohttp_client(make_app(parts_of(tmp_path, store, public, None), structlog.get_logger()))
    answer = await client.get("/metrics")
    assert answer.status == 200
    assert "gateway_store_size_bytes" in await answer.text()
    assert (await client.get("/api/v1/events")).status == 401
    assert (await client.get("/outbox", headers=bearer(OPERATOR))).status == 404
