"""What whoever is on call finds in a real Chromium: why a connection stands, what was rejected, what came of events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from gateway.testing import make_event
from tests.acceptance.console import OPERATOR, PHONE, VIEWER, Console, chromium, sign_in

pytestmark = [pytest.mark.xdist_group("console-oncall"), pytest.mark.slow]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    gateway = Console(tmp_path_factory.mktemp("console-oncall"))
    gateway.start()
    yield gateway
    gateway.process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, console: Console) -> Iterator[Page]:
    opened = browser.new_context().new_page()
    sign_in(opened, console.url, OPERATOR, "Jenny")
    yield opened
    opened.context.close()


def test_a_connection_is_paused_with_a_reason_that_deliveries_tell(page: Page, console: Console) -> None:
    page.goto(f"{console.url}/connections")
    page.get_by_label("Why shop is paused").fill("the shop moves")
    page.get_by_role("button", name="Pause shop").click()
    expect(page.get_by_role("status")).to_have_text("shop is paused until it is resumed.")
    row = page.get_by_role("row", name="shop")
    expect(row).to_contain_text("paused by a person: the shop moves")
    event = make_event("checkout.session.completed")
    assert console.post(event) == 200
    (save,) = console.until(lambda: console.api(f"/deliveries?event={event['id']}&state=pending")["items"])
    waits = "for connection shop, which is paused until it is resumed (paused by a person: the shop moves)"
    assert save["waits_for"] == waits
    page.goto(f"{console.url}/deliveries/{save['id']}")
    expect(page.get_by_text(waits)).to_be_visible()
    page.goto(f"{console.url}/events?outcome=waiting")
    expect(page.get_by_role("row", name=event["id"])).to_contain_text("waiting")
    page.goto(f"{console.url}/connections")
    page.get_by_role("button", name="Resume shop").click()
    expect(page.get_by_role("status")).to_have_text("shop works again: what waits runs now.")
    console.until(lambda: console.api(f"/deliveries/{save['id']}")["state"] == "succeeded")
    assert console.api(f"/deliveries/{save['id']}")["waits_for"] is None


def test_a_route_is_paused_with_a_reason_and_resumed(page: Page, console: Console) -> None:
    page.goto(f"{console.url}/routes")
    name = console.api("/routes")["items"][0]["name"]
    page.get_by_label(f"Why {name} is paused").fill("wrong prices")
    page.get_by_role("button", name=f"Pause {name}", exact=True).click()
    expect(page.get_by_role("status")).to_have_text(f"{name} is paused until it is resumed.")
    expect(page.get_by_role("row", name=name).first).to_contain_text("paused by a person: wrong prices")
    page.goto(console.url)
    expect(page.get_by_role("link", name="Paused routes")).to_be_visible()
    page.goto(f"{console.url}/routes")
    page.get_by_role("button", name=f"Resume {name}", exact=True).click()
    expect(page.get_by_role("status")).to_have_text(f"{name} works again: what waits runs now.")


def test_the_api_pauses_and_resumes_and_refuses_what_is_not_there(console: Console) -> None:
    paused = console.api("/connections/warehouse/pause", {"reason": "stocktaking"})
    assert (paused["state"], paused["until"], paused["reason"]) == ("paused", None, "paused by a person: stocktaking")
    (listed,) = [one for one in console.api("/connections")["items"] if one["name"] == "warehouse"]
    assert (listed["state"], listed["reason"]) == ("paused", "paused by a person: stocktaking")
    assert console.api("/connections/warehouse/resume", {})["state"] == "working"
    noted = [entry["what"] for entry in console.api("/audit")["items"][:2]]
    assert noted == ["connection.resume", "connection.pause"]


def test_what_was_rejected_is_told_and_taken_in_again(page: Page, console: Console) -> None:
    event = make_event("checkout.session.completed")
    assert console.refused(event, "whsec_of_another_endpoint") == 401
    (kept,) = console.until(lambda: console.api("/rejected?reason=no_match")["items"])
    assert console.api(f"/rejected/{kept['id']}")["body"].startswith('{"id": "evt_')
    page.goto(f"{console.url}/")
    page.get_by_role("link", name="1 request rejected").click()
    row = page.get_by_role("row", name=kept["id"])
    expect(row).to_contain_text("no_match: no signing secret of the account had signed it")
    page.get_by_role("link", name=kept["id"]).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("no_match")
    page.get_by_role("button", name="Verify it again").click()
    expect(page.get_by_role("status")).to_have_text("0 taken into the inbox, 0 there already, 1 still rejected.")
    dry = console.api("/rejected/verify", {"reason": ["no_match"], "dry_run": True})["items"]
    assert [(result["id"], result["event_id"]) for result in dry] == [(kept["id"], None)]


def test_events_say_what_came_of_them_and_are_narrowed_by_it(page: Page, console: Console) -> None:
    dead, _ = console.send("checkout.session.completed", "checkout.session.completed")
    (nothing,) = console.send("customer.created")
    outcomes = {event["id"]: event["outcome"] for event in console.api("/events")["items"]}
    assert (outcomes[dead], outcomes[nothing]) == ("dead", None)
    assert console.api(f"/events/{dead}")["outcome"] == "dead"
    page.goto(f"{console.url}/events")
    page.get_by_label("Outcome").select_option("dead")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("row", name=dead)).to_contain_text("dead")
    expect(page.get_by_role("row", name=nothing)).to_have_count(0)
    assert {event["outcome"] for event in console.api("/events?outcome=dead")["items"]} == {"dead"}
    first = console.api("/events?outcome=dead&limit=1")
    second = console.api(f"/events?outcome=dead&limit=1&cursor={first['next']}")
    assert first["items"][0]["id"] != second["items"][0]["id"]


@pytest.mark.parametrize("path", ["/events?since=yesterday", "/deliveries?until=noon", "/rejected?reason=bored"])
def test_a_filter_that_cannot_be_used_is_said_beside_the_form(path: str, page: Page, console: Console) -> None:
    answer = page.goto(console.url + path)
    assert answer is not None
    assert answer.status == 422
    expect(page.get_by_role("alert")).to_contain_text("The filter cannot be used: ")
    name, _, written = path.partition("?")[2].partition("=")
    expect(page.locator(f"[name={name}]")).to_have_value(written)


def test_the_printed_link_signs_in_and_leaves_no_trace(browser: Browser, console: Console) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{console.url}/sign-in#{VIEWER}")
    page.wait_for_url(f"{console.url}/")
    page.go_back()
    assert VIEWER not in page.url
    page.goto(f"{console.url}/sign-in#nobody's")
    expect(page.get_by_role("alert")).to_have_text("That token is nobody's.")
    page.context.close()


def test_every_place_of_the_menu_is_in_view_on_a_phone(browser: Browser, console: Console) -> None:
    page = browser.new_context(viewport=PHONE).new_page()
    sign_in(page, console.url, OPERATOR)
    for path in ("/", "/audit"):
        page.goto(console.url + path)
        for link in page.get_by_role("navigation", name="Main").get_by_role("link").all():
            expect(link).to_be_in_viewport()
    page.context.close()


def test_charts_have_numbers_and_times(page: Page, console: Console) -> None:
    console.send("checkout.session.completed")
    page.goto(f"{console.url}/?range=1h")
    heights, times = page.locator(".heights").first, page.locator(".times").first
    assert int(heights.locator("span").first.inner_text().replace(",", "")) >= 1
    assert len(times.locator("span").all()) == 5


def test_an_overview_that_cannot_be_renewed_says_since_when(browser: Browser, tmp_path: Path) -> None:
    gateway = Console(tmp_path)
    gateway.start()
    page = browser.new_context().new_page()
    sign_in(page, gateway.url, OPERATOR)
    page.evaluate("htmx.config.timeout = 2000")
    gateway.process.kill()
    page.evaluate("htmx.ajax('GET', '/?part=1', {target: '[data-renewed]', source: '[data-renewed]'}).catch(() => 0)")
    expect(page.locator("#stale")).to_contain_text("Not renewed since ")
    page.context.close()
