"""What an operator presses, in a real Chromium; and payloads that would rather do something else."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from gateway.testing import make_event
from tests.acceptance.console import OPERATOR, PHONE, Console, chromium, sign_in
from tests.cli import CommandLine, Ran

pytestmark = [pytest.mark.xdist_group("console-buttons"), pytest.mark.slow]

HOSTILE = "</pre></code><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">{{ 7*7 }}"
TURNED = "abc\u202egnp.exe שלום \x1b[31mred\x1b[0m \x07"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    made = Console(tmp_path_factory.mktemp("console-buttons"))
    made.start()
    yield made
    made.process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def page(browser: Browser, console: Console) -> Iterator[Page]:
    made = browser.new_context().new_page()
    sign_in(made, console.url, OPERATOR, "Jenny")
    yield made
    made.context.close()


def dead(console: Console) -> str:
    """A dead letter of its own."""
    (event,) = console.send("checkout.session.completed")
    found: str = console.api(f"/deliveries?event={event}&state=dead")["items"][0]["id"]
    return found


def test_signing_in_and_out(browser: Browser, console: Console) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{console.url}/deliveries?state=dead")
    assert page.url == f"{console.url}/sign-in?next=%2Fdeliveries%3Fstate%3Ddead"
    page.get_by_label("Token").fill("not it")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That token is nobody's.")
    page.get_by_label("Token").fill(OPERATOR)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{console.url}/deliveries?state=dead")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{console.url}/sign-in")
    page.goto(f"{console.url}/")
    assert "/sign-in" in page.url
    page.context.close()


def test_retry_and_cancel_of_one_delivery(page: Page, console: Console) -> None:
    delivery = dead(console)
    page.goto(f"{console.url}/deliveries/{delivery}")
    page.get_by_role("button", name="Retry with today's config").click()
    expect(page.get_by_role("status")).to_have_text("It runs again, with today's configuration.")
    console.until(lambda: len(console.api(f"/deliveries/{delivery}")["history"]) == 2)
    console.until(lambda: console.api(f"/deliveries/{delivery}")["state"] == "dead")
    page.reload()
    assert console.api(f"/deliveries/{delivery}")["state"] == "dead"  # it was not retried again
    page.goto(f"{console.url}/deliveries/{delivery}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("Cancelled. A retry revives it.")
    assert console.api(f"/deliveries/{delivery}")["reason"] == "cancelled by Jenny"
    page.goto(f"{console.url}/audit")
    expect(page.locator("tbody tr").first).to_contain_text("Jenny (127.0.0.1)")
    expect(page.locator("tbody tr").first).to_contain_text("delivery.cancel")


def test_retry_of_all_that_match_asks_first_and_shows_how_far_it_is(page: Page, console: Console) -> None:
    delivery = dead(console)
    before = len(console.api(f"/deliveries/{delivery}")["history"])
    page.goto(f"{console.url}/deliveries?route=fulfil")
    page.get_by_label("State").select_option("dead")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="Retry all that match").click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(re.compile(r"Retry \d+ deliveries\?"))
    page.get_by_role("button", name="Yes, retry").click()
    page.wait_for_url(lambda at: "/jobs/" in at)
    expect(page.get_by_role("status")).to_contain_text("finished")
    expect(page.get_by_role("progressbar")).to_be_visible()
    console.until(lambda: len(console.api(f"/deliveries/{delivery}")["history"]) > before)
    page.goto(f"{console.url}/jobs")
    expect(page.locator("tbody tr").first).to_contain_text("retry")


def test_replay_of_one_event_and_of_all_that_match(page: Page, console: Console) -> None:
    (event,) = console.send("checkout.session.completed")
    page.goto(f"{console.url}/events/{event}")
    expect(page.locator("svg.graph a")).to_have_count(3)
    page.get_by_role("button", name="Replay with today's config").click()
    expect(page.get_by_role("status")).to_have_text("Made 3 new deliveries: fulfil/save, fulfil/ship, fulfil/after.")
    for _ in range(2):
        page.reload()
        assert len(console.api(f"/deliveries?event={event}")["items"]) == 6
    page.goto(f"{console.url}/events/{event}?said=Nothing+was+made&signed={'0' * 32}")
    expect(page.get_by_role("status")).to_have_count(0)
    page.goto(f"{console.url}/events?type=checkout.*")
    page.get_by_role("link", name="Replay all that match").click()
    expect(page.get_by_role("row", name="fulfil/save")).to_be_visible()
    page.get_by_role("button", name="Yes, replay").click()
    expect(page.get_by_role("status")).to_contain_text("finished")
    expect(page.get_by_text("What it changed or made:")).to_contain_text("succeeded")
    console.until(lambda: not console.api("/deliveries?state=pending,running")["items"])


@contextmanager
def slow_store(console: Console) -> Iterator[None]:
    """Meanwhile another program holds the inbox's file, but for a hundredth of a second at a time."""
    over = threading.Event()

    def hold() -> None:
        with closing(
            sqlite3.connect(console.process.folder / "data" / "gateway.db", timeout=60, isolation_level=None)
        ) as other:
            while not over.is_set():
                other.execute("BEGIN IMMEDIATE")
                over.wait(0.4)
                other.execute("COMMIT")
                over.wait(0.01)

    with ThreadPoolExecutor(1) as thread:
        holding = thread.submit(hold)
        try:
            yield
        finally:
            over.set()
        holding.result()


def test_a_change_to_many_pauses_goes_on_and_stops_where_it_is(page: Page, console: Console) -> None:
    for _ in range(300):
        assert console.post(make_event("checkout.session.async_payment_succeeded")) == 200
    page.goto(f"{console.url}/events?type=checkout.session.async_payment_succeeded")
    page.get_by_role("link", name="Replay all that match").click()
    with slow_store(console):
        page.get_by_role("button", name="Yes, replay").click()
        page.wait_for_url(lambda at: "/jobs/" in at)
        job = page.url.rpartition("/")[2]
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("status")).to_contain_text("paused")
        resting = console.until(lambda: at_rest(console, job))
        page.get_by_role("button", name="Go on").click()
        console.until(lambda: console.api(f"/jobs/{job}")["done"] > resting)
        page.get_by_role("button", name="Stop here").click()
        expect(page.get_by_role("status")).to_contain_text("stopped")
    ended = console.api(f"/jobs/{job}")
    assert (ended["state"], ended["total"]) == ("stopped", 300)
    assert resting < ended["done"] < 300


def at_rest(console: Console, job: str) -> int | None:
    """How far a paused job is, once the step that was under way has ended: it stays there while two more would pass."""
    done: int = console.api(f"/jobs/{job}")["done"]
    time.sleep(1.5)
    return done if console.api(f"/jobs/{job}")["done"] == done and done else None


def test_new_events_appear_in_the_live_list_and_filters_hold(page: Page, console: Console) -> None:
    page.goto(f"{console.url}/events?live=1&type=customer.*")
    expect(page.get_by_role("status")).to_have_text("Live.")
    hidden = make_event("invoice.paid")
    shown = make_event("customer.created")
    assert console.post(hidden) == 200
    assert console.post(shown) == 200
    expect(page.locator("#events")).to_contain_text(shown["id"])
    expect(page.locator("#events")).not_to_contain_text(hidden["id"])
    page.get_by_role("link", name=shown["id"]).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("customer.created")


def test_the_playground_tries_a_draft_on_an_event(page: Page, console: Console) -> None:
    (event,) = console.send("checkout.session.completed")
    page.goto(f"{console.url}/events/{event}")
    page.get_by_role("link", name="Try another configuration on it").click()
    draft = page.get_by_label("Draft")
    expect(draft).to_have_value(re.compile("fulfil:"))
    draft.fill(draft.input_value().replace("'unpaid'", "'paid'"))
    page.get_by_role("button", name="Try it out").click()
    expect(page.locator(".route summary")).to_contain_text("its `if` is false: object.payment_status != 'paid'")
    page.get_by_label("Draft").fill("routes: {a: {events: [x], actions: {b: {uses: emial}}}}")
    page.get_by_role("button", name="Try it out").click()
    expect(page.locator(".problems")).to_contain_text("did you mean email?")


def test_the_playground_fills_in_a_sample_and_its_scenarios(page: Page, console: Console) -> None:
    page.goto(f"{console.url}/playground")
    page.get_by_label("A sample of type").fill("customer.subscription.updated")
    page.get_by_role("button", name="Fill in").click()
    page.get_by_label("scenario").select_option("past-due")
    page.get_by_role("button", name="Fill in").click()
    expect(page.get_by_label("Event (JSON)")).to_have_value(re.compile('"status": "past_due"'))
    expect(page.get_by_label("scenario")).to_have_value("past-due")
    page.goto(f"{console.url}/playground?type=customer.subscription.updated&as=past_due")
    expect(page.locator("main")).to_contain_text("has no scenario 'past_due'; it has: metered, ")
    page.goto(f"{console.url}/playground?type=customer.subscripton.updated")
    expect(page.locator("main")).to_contain_text("did you mean customer.subscription.updated?")


def test_the_playground_offers_the_fields_of_the_events_of_a_route(page: Page, console: Console) -> None:
    page.goto(f"{console.url}/playground")
    draft, offered = page.get_by_label("Draft"), page.get_by_role("listbox", name="Fields that fit")
    draft.fill("")
    draft.press_sequentially("routes: {a: {events: [invoice.paid], if: object.lines.data[0].quant")
    expect(offered.get_by_role("option").first).to_contain_text("quantity")
    draft.press("Enter")
    draft.press_sequentially(" and object.subscription")
    expect(offered.get_by_role("option")).to_contain_text(["parent.subscription_details.subscription"])
    draft.press("Escape")
    expect(offered).to_be_hidden()
    expect(draft).to_have_value(re.compile(r"quantity and object\.subscription$"))


def test_the_playground_lists_the_fields_without_a_script(browser: Browser, console: Console) -> None:
    (event,) = console.send("checkout.session.completed")
    page = browser.new_context(java_script_enabled=False).new_page()
    sign_in(page, console.url, OPERATOR)
    page.goto(f"{console.url}/playground?event={event}")
    page.get_by_text("Fields of object in checkout.session.completed").click()
    expect(page.get_by_role("row", name="object.payment_status enum")).to_contain_text("no_payment_required")
    expect(page.locator("#completes")).to_be_hidden()
    page.context.close()


def test_hostile_payloads_show_harmlessly(page: Page, console: Console) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: said.append(dialog.message))
    details = {"email": HOSTILE, "name": HOSTILE + TURNED}
    event = make_event(
        "checkout.session.completed",
        object={"id": "cs_<b>\u202e" + "x" * 300, "customer_details": details, "metadata": {HOSTILE: TURNED}},
    )
    assert console.post(json.dumps(event).encode()) == 200
    console.until(lambda: not console.api("/deliveries?state=pending,running")["items"])
    delivery = console.api(f"/deliveries?event={event['id']}&state=succeeded")["items"][0]["id"]
    for path in (f"/events/{event['id']}", f"/deliveries/{delivery}", "/events", f"/playground?event={event['id']}"):
        page.goto(console.url + path)
        text = page.inner_text("body")
        assert "owned" not in page.title()
        assert page.locator("main script, main img").count() == 0
        assert "\u202e" not in text
        assert "\x1b" not in text
        assert "49" not in text or "{{ 7*7 }}" in text or path == "/events"
    assert [line for line in said if "favicon" not in line] == []
    shown = console.process.run("events", "show", event["id"])
    listed = console.process.run("events", "list")
    for output in (shown.stdout, listed.stdout, console.process.run("deliveries", "show", delivery).stdout):
        assert output
        assert "\x1b" not in output
        assert "\u202e" not in output


def test_a_string_of_five_megabytes_does_not_hang_the_page(page: Page, console: Console) -> None:
    event = make_event("customer.updated", object={"description": "<" * 5_000_000})
    assert console.post(event) == 200
    page.goto(f"{console.url}/events/{event['id']}")
    expect(page.locator("#main")).to_contain_text("Cut here: the whole is 5,00")
    assert len(page.content()) < 2_000_000
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert json.loads(download.value.path().read_bytes()) == event
    page.goto(f"{console.url}/playground?event={event['id']}")
    expect(page.get_by_role("alert")).to_contain_text("this event is too long to edit in a page")


def test_everything_works_without_a_script(browser: Browser, console: Console) -> None:
    delivery = dead(console)
    page = browser.new_context(java_script_enabled=False, viewport=PHONE).new_page()
    sign_in(page, console.url, OPERATOR)
    page.goto(f"{console.url}/deliveries/{delivery}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("Cancelled. A retry revives it.")
    page.context.close()


def test_the_command_line_works_from_a_laptop(console: Console, gateway_cli: CommandLine) -> None:
    """Where the command knows nothing but the console's address it prints what it prints beside the inbox."""

    def remote(*words: str, token: str = OPERATOR) -> Ran:
        return gateway_cli.beside("--url", console.url, "--token", token, *words)

    (event,) = console.send("checkout.session.completed")
    delivery = console.api(f"/deliveries?event={event}&state=dead")["items"][0]["id"]
    for words in (
        ("events", "show", event),
        ("events", "list", "--type", "checkout.*"),
        ("deliveries", "list", "--connection", "warehouse", "--state", "dead"),
        ("deliveries", "show", delivery),
    ):
        local = gateway_cli.beside("--config", console.process.config, *words, "--json")
        assert local.code == 0, local.err
        assert json.loads(remote(*words, "--json").out) == json.loads(local.out)
    (warehouse,) = [each for each in json.loads(remote("top", "--json").out) if each["connection"] == "warehouse"]
    assert warehouse["dead"] >= 1
    assert event in remote("tail", "--since", "1h", "--for", "0s").out
    done = remote("deliveries", "cancel", delivery, "--json")
    assert json.loads(done.out) == [{"id": delivery, "done": True, "refused": None}]
    replayed = json.loads(remote("events", "replay", event, "--json").out)
    assert replayed[0]["owed"] == ["fulfil/save", "fulfil/ship", "fulfil/after"]
    failed = remote("deliveries", "show", "dlv_none")
    assert (failed.code, failed.err) == (1, "there is no delivery dlv_none\n")
    failed = remote("events", "replay", event, "--route", "x")
    assert (failed.code, failed.err) == (1, f"{console.url} answered 422: no such route: x\n")
    assert remote("events", "list", token="").err == "--url needs --token, or GATEWAY_TOKEN\n"
    wrong = remote("events", "list", token="wrong")
    assert wrong.err == f"{console.url} answered 401: send the token, as Authorization: Bearer ...\n"
    (noted, *_) = [entry for entry in console.api("/audit")["items"] if entry["what"] == "event.replay"]
    assert re.fullmatch(r"\S+ \(127\.0\.0\.1\)", noted["who"])


def test_each_event_and_attempt_is_one_log_line_with_ids_and_nothing_of_the_payload(console: Console) -> None:
    (event,) = console.send("checkout.session.completed")
    lines = [json.loads(line) for line in console.process.log.read_text().splitlines() if line.startswith("{")]
    mine = [line for line in lines if line.get("event_id") == event]
    assert [line["event"] for line in mine] == ["event.routed", "delivery.succeeded", "delivery.dead"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", mine[0]["request_id"])
    assert all(line["delivery_id"].startswith("dlv_") for line in mine[1:])
    text = console.process.log.read_text()
    for secret in ("jenny@example.com", "whsec_", OPERATOR):
        assert secret not in text
