"""A gateway with a console, and a real Chromium that looks at it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from gateway.testing import make_event, signed_request
from tests.acceptance.harness import SECRET, GatewayProcess, free_port
from tests.configs import SAVE_AND_SHIP, SHOP, gateway_yaml, http
from tests.waiting import HANG_SECONDS, wait_until

OPERATOR, VIEWER = "operator-token-of-the-tests", "viewer-token-of-the-tests"
AXE = Path(__file__).parent / "axe" / "axe.min.js"
COLOURS = ("color-contrast", "link-in-text-block")  # the rules of axe-core that look at colours, of those on by default
SCREENSHOTS = Path(__file__).parents[1] / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = ViewportSize(width=1280, height=800), ViewportSize(width=390, height=844)

ROUTES = SAVE_AND_SHIP.replace("actions:", "if: object.payment_status != 'unpaid'\n    actions:").replace(
    "values: {", 'values: {name: "{{ object.customer_details.name }}", '
)
AFTER = "      after: {uses: http_forward, needs: [ship], with: {connection: warehouse}}\n"


def config(port: int, admin: int, acme: str = "") -> str:
    """Its configuration: what saves succeeds, what ships dies however often, what comes after waits. `acme`: more of
    that account.
    """
    return gateway_yaml(
        port=port,
        admin=admin,
        server="max_body: 8MiB",
        console=f"token: {OPERATOR}, viewer_token: {VIEWER}",
        log="level: info, format: json",
        defaults="retry: {attempts: 1, first: 1s}",
        accounts=acme + "  silent: {signing_secrets: [whsec_of_the_silent_one]}",
        connections={"shop": SHOP, "warehouse": http("http://127.0.0.1:9/hooks", "breaker: false")},
        routes=ROUTES + AFTER,
    )


class Console:
    """A gateway and its console."""

    def __init__(self, folder: Path) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self.process = GatewayProcess(folder, config(self.port, self.admin_port), self.port)
        self.url = f"http://127.0.0.1:{self.admin_port}"

    def start(self) -> None:
        """Returns when it answers."""
        with ThreadPoolExecutor(1) as thread:  # Playwright keeps a loop running on this one
            thread.submit(asyncio.run, self.process.start()).result()

    def post(self, event: dict[str, Any] | bytes, secret: str = SECRET) -> int:
        """Posts as Stripe would; the status."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        url = f"http://127.0.0.1:{self.port}/webhooks/acme"
        request = urllib.request.Request(url, body, signed_request(body, secret), method="POST")
        with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
            status: int = response.status
            return status

    def refused(self, event: dict[str, Any], secret: str) -> int:
        """Posts what the gateway does not take; the status."""
        try:
            return self.post(event, secret)
        except urllib.error.HTTPError as error:
            return error.code

    def api(self, path: str, body: Any = None, token: str = OPERATOR) -> Any:
        """What the API answers."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers)
        with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
            return json.load(response)

    def until(self, condition: Callable[[], Any], seconds: float = HANG_SECONDS) -> Any:
        """The first true answer of a condition."""
        return wait_until(condition, seconds, seen=lambda: self.process.log.read_text()[-3000:])

    def send(self, *types: str) -> list[str]:
        """Posts events of these types and waits until their deliveries rest; their ids."""
        ids = []
        for type in types:
            event = make_event(type)
            assert self.post(event) == 200
            ids.append(event["id"])
        self.until(lambda: not self.api("/deliveries?state=pending,running")["items"])
        return ids


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; skips where it is not installed, but for CI."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    expect.set_options(timeout=HANG_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def complaints(page: Page, rules: Sequence[str] = ()) -> list[str]:
    """What axe-core finds wrong, seriously; by these rules alone, where some are named. The first look at a page is by
    all: it brings the script.
    """
    if not rules:
        # Through the debugger's protocol: a script added to the page would be refused by its own policy.
        page.evaluate(AXE.read_text())
    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    found = page.evaluate("(options) => axe.run(document, options)", {"resultTypes": ["violations"], **only})
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['html'][:160] for node in one['nodes']][:5]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def sign_in(page: Page, url: str, token: str, name: str = "") -> None:
    """By the form."""
    page.context.set_default_timeout(HANG_SECONDS * 1000)
    page.goto(f"{url}/sign-in")
    page.get_by_label("Token").fill(token)
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda at: "/sign-in" not in at)
