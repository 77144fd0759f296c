"""gateway dev's outbox: mails as they look, forwards, Slack messages; and nothing in them gets out."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.acceptance.console import DESKTOP, SCREENSHOTS, chromium, complaints
from tests.acceptance.harness import ROOT, free_port
from tests.waiting import HANG_SECONDS, wait_until

CONFIG = """\
version: 1
server: {{listen: "127.0.0.1:{port}"}}
admin: {{listen: "127.0.0.1:{admin}"}}
accounts:
  acme: {{signing_secrets: ["${{ACME_SECRET}}"]}}
connections:
  mail: {{type: smtp, host: mail.example, from: a@b.example}}
  warehouse: {{type: http, url: https://warehouse.example/hooks, signing_secret: "${{WAREHOUSE_SECRET}}"}}
  sales: {{type: slack, webhook_url: "${{SLACK_URL}}"}}
routes:
  tell:
    events: [checkout.session.completed]
    actions:
      receipt:
        uses: email
        with:
          connection: mail
          to: "{{{{ object.customer_details.email }}}}"
          subject: Your order
          text: Thank you
          html: "<h1>Thank you</h1><script>parent.document.title='owned'</script><img src='http://127.0.0.1:{spy}/x'>"
      ship: {{uses: http_forward, with: {{connection: warehouse}}}}
      slack:
        uses: slack
        with:
          connection: sales
          text: Order
          blocks:
            - {{type: header, text: {{type: plain_text, text: A new order}}}}
            - {{type: section, fields: [{{type: mrkdwn, text: "<b>45</b>"}}]}}
            - {{type: divider}}
"""


@pytest.fixture
def spy() -> Iterator[socket.socket]:
    """What a mail's picture would call home to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture
def sign_in_url(tmp_path: Path, spy: socket.socket) -> Iterator[str]:
    config = CONFIG.format(port=free_port(), admin=free_port(), spy=spy.getsockname()[1])
    (tmp_path / "gateway.yaml").write_text(config)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gateway", "--config", str(tmp_path / "gateway.yaml")]
    log = tmp_path / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen([*command, "dev"], stdout=file, stderr=file, env=environ)
    try:
        link = wait_until(
            lambda: re.search(r"http://127\.0\.0\.1:\d+/sign-in#\S+", log.read_text()), seen=log.read_text
        )
        sent = subprocess.run(
            [*command, "--dev", "send", "checkout.session.completed"],
            env=environ,
            timeout=HANG_SECONDS,
            capture_output=True,
        )
        assert sent.returncode == 0, sent.stderr
        yield link[0]
    finally:
        process.terminate()
        process.wait(HANG_SECONDS)
    assert '"level": "error"' not in log.read_text()


def test_what_was_caught_is_shown_and_stays_in_its_frame(sign_in_url: str, spy: socket.socket) -> None:
    with chromium() as browser:
        page = browser.new_context(viewport=DESKTOP).new_page()
        page.goto(sign_in_url)
        page.get_by_role("link", name="Outbox").click()
        wait_until(lambda: page.reload() is not None and page.locator("tbody tr").count() == 3)
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "outbox-desktop.png", full_page=True)
        assert complaints(page) == []
        page.get_by_role("link", name="mail to jenny@example.com").click()
        frame = page.frame_locator("iframe")
        expect(frame.get_by_role("heading", name="Thank you")).to_be_visible()
        page.screenshot(path=SCREENSHOTS / "outbox-mail-desktop.png", full_page=True)
        assert "owned" not in page.title()
        with pytest.raises(BlockingIOError):
            spy.accept()
        page.go_back()
        page.get_by_role("link", name="forward to warehouse (Standard Webhooks signature verified)").click()
        expect(page.get_by_text("POST /hooks")).to_be_visible()
        page.go_back()
        page.get_by_role("link", name="Slack message by sales").click()
        expect(page.get_by_role("heading", name="A new order")).to_be_visible()
        expect(page.locator(".slack .field")).to_have_text("<b>45</b>")
        page.screenshot(path=SCREENSHOTS / "outbox-slack-desktop.png", full_page=True)
        assert complaints(page) == []
