"""Every page in a real Chromium, wide and narrow, light and dark: nothing axe-core minds, nothing that sticks out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from gateway.testing import make_event
from tests.acceptance.console import (
    COLOURS,
    DESKTOP,
    OPERATOR,
    PHONE,
    SCREENSHOTS,
    VIEWER,
    Console,
    chromium,
    complaints,
    sign_in,
)

pytestmark = [pytest.mark.xdist_group("console-pages"), pytest.mark.slow]

SHIFTED = """new Promise((done) => {
  let sum = 0;
  const add = (entries) => entries.forEach((entry) => { sum += entry.value; });
  const observer = new PerformanceObserver((list) => add(list.getEntries()));
  observer.observe({type: "layout-shift", buffered: true});
  requestAnimationFrame(() => requestAnimationFrame(() => { add(observer.takeRecords()); done(sum); }));
})"""  # how far the page's parts have moved, two frames after it was loaded

PAGES = {
    "overview": "/",
    "overview-1h": "/?range=1h",
    "events": "/events",
    "events-filtered": "/events?type=checkout.*&state=routed",
    "events-live": "/events?live=1",
    "events-search": "/events?text=jenny",
    "event": "/events/{event}",
    "event-unmatched": "/events/{unmatched}",
    "events-replay": "/events/replay?type=checkout.*",
    "deliveries": "/deliveries",
    "deliveries-dead": "/deliveries?state=dead",
    "deliveries-none": "/deliveries?state=cancelled",
    "delivery-dead": "/deliveries/{dead}",
    "delivery-succeeded": "/deliveries/{succeeded}",
    "delivery-blocked": "/deliveries/{blocked}",
    "deliveries-many": "/deliveries/many?what=retry",
    "events-dead": "/events?outcome=dead",
    "events-wrong": "/events?since=yesterday",
    "search": "/search?q=jenny@example.com",
    "dead-letters": "/dead-letters",
    "accounts": "/accounts",
    "charts-route": "/charts?by=route&range=1h",
    "connections": "/connections",
    "rejected": "/rejected",
    "rejected-one": "/rejected/{rejected}",
    "playground": "/playground?event={event}",
    "config": "/config",
    "jobs": "/jobs",
    "job": "/jobs/{job}",
    "audit": "/audit",
    "not-found": "/deliveries/dlv_none",
}


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    made = Console(tmp_path_factory.mktemp("console"))
    made.start()
    yield made
    made.process.terminate()


@pytest.fixture(scope="module")
def names(console: Console) -> dict[str, str]:
    """Something of each kind, for the paths."""
    event, unmatched, _ = console.send("checkout.session.completed", "customer.created", "checkout.session.completed")
    console.post(make_event("checkout.session.completed", object={"id": "cs_shared"}))
    console.post(make_event("checkout.session.expired", object={"id": "cs_shared"}))
    console.send("checkout.session.completed")
    job = console.api("/jobs", {"what": "retry", "deliveries": {"state": ["dead"]}})["job"]["id"]
    console.until(lambda: console.api(f"/jobs/{job}")["state"] == "finished")
    console.until(lambda: not console.api("/deliveries?state=pending,running")["items"])
    console.refused(make_event("checkout.session.completed"), "whsec_of_another_endpoint")
    (refused,) = console.until(lambda: console.api("/rejected")["items"])
    found = {"event": event, "unmatched": unmatched, "job": job, "rejected": refused["id"]}
    for state in ("dead", "succeeded", "blocked"):
        found[state] = console.api(f"/deliveries?state={state}")["items"][0]["id"]
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def signed_in(browser: Browser, console: Console, token: str = OPERATOR, **options: Any) -> Page:
    page = browser.new_context(**options).new_page()
    sign_in(page, console.url, token, "Jenny")
    return page


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_every_page_is_readable_by_everybody(
    browser: Browser, console: Console, names: dict[str, str], width: str
) -> None:
    viewport = DESKTOP if width == "desktop" else PHONE
    page = signed_in(browser, console, viewport=viewport, reduced_motion="reduce")  # so that colours change at once
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    SCREENSHOTS.mkdir(exist_ok=True)
    wrong: dict[str, Any] = {}
    for name, path in PAGES.items():
        page.emulate_media(color_scheme="light")
        page.goto(console.url + path.format(**names))
        if name in ("not-found", "events-wrong"):
            said.clear()  # Chromium says that it was 404, or 422
        page.wait_for_load_state("load")
        found = complaints(page)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        page.screenshot(path=SCREENSHOTS / f"{name}-{width}-light.png", full_page=True)
        page.emulate_media(color_scheme="dark")  # by which nothing but colours differs: all else is looked at already
        found += complaints(page, COLOURS)
        page.screenshot(path=SCREENSHOTS / f"{name}-{width}-dark.png", full_page=True)
        if found or wide > 1 or said:
            wrong[name] = (found, f"{wide} px too wide", list(said))
        said.clear()
    page.context.close()
    assert wrong == {}


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_the_sign_in_page_is_readable_by_everybody(browser: Browser, console: Console, width: str) -> None:
    page = browser.new_context(viewport=DESKTOP if width == "desktop" else PHONE).new_page()
    page.goto(f"{console.url}/sign-in")
    page.screenshot(path=SCREENSHOTS / f"sign-in-{width}.png")
    assert complaints(page) == []
    page.context.close()


def test_a_viewer_sees_everything_and_no_button_that_changes(
    browser: Browser, console: Console, names: dict[str, str]
) -> None:
    page = signed_in(browser, console, VIEWER)
    for path in ("/events/{event}", "/deliveries/{dead}", "/deliveries", "/jobs/{job}"):
        page.goto(console.url + path.format(**names))
        for word in ("Retry", "Replay", "Cancel", "Pause", "Stop here"):
            assert page.get_by_role("button", name=word).count() == 0, (path, word)
            assert page.get_by_role("link", name=word).count() == 0, (path, word)
    page.goto(f"{console.url}/deliveries/many?what=retry")
    assert "your token may look, not change" in page.inner_text("main")
    page.context.close()


def test_the_keyboard_alone_reaches_the_content_and_the_lists(
    browser: Browser, console: Console, names: dict[str, str]
) -> None:
    page = signed_in(browser, console)
    page.goto(f"{console.url}/deliveries?state=dead")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Overview"
    page.locator("tbody a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(lambda at: "/deliveries/dlv_" in at)
    page.goto(f"{console.url}/deliveries")
    places = []
    for key in "jjk":
        page.keyboard.press(key)
        places.append(page.evaluate("document.activeElement.closest('tr').rowIndex"))
    assert places == [1, 2, 1]
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert complaints(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type(names["event"])
    page.keyboard.press("Enter")
    page.wait_for_url(lambda at: f"/events/{names['event']}" in at)
    page.context.close()


def test_pages_stand_still_and_their_scripts_are_small(
    browser: Browser, console: Console, names: dict[str, str]
) -> None:
    page = signed_in(browser, console, viewport=PHONE)
    scripts: dict[str, int] = {}
    page.on("response", lambda answer: scripts.update({answer.url: int(answer.headers.get("content-length", 0))})
            if answer.request.resource_type == "script" else None)  # fmt: skip
    shifts = {}
    for path in ("/", "/events", "/events/{event}", "/deliveries/{dead}", "/charts"):
        page.goto(console.url + path.format(**names))
        page.wait_for_load_state("load")
        shifts[path] = page.evaluate(SHIFTED)
    page.context.close()
    assert {path: shift for path, shift in shifts.items() if shift > 0.02} == {}
    assert scripts
    assert [url for url, size in scripts.items() if not 0 < size <= 60_000] == []


def test_an_event_is_read_without_a_script(browser: Browser, console: Console, names: dict[str, str]) -> None:
    page = signed_in(browser, console, java_script_enabled=False)
    page.goto(f"{console.url}/events/{names['event']}")
    folded = page.locator("summary", has_text="customer_details").last
    folded.click()
    expect(page.get_by_text('"jenny@example.com"').first).to_be_visible()
    page.context.close()
