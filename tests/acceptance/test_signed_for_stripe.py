"""What `signature: stripe` forwards, Stripe's own libraries take, in Python and in Node."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import stripe
from aiohttp import web

from gateway.testing import make_event
from tests.http_service import Serve
from tests.in_process import config, gateway
from tests.waiting import HANG_SECONDS

NODE = Path(__file__).parent / "node"
SECRET = "whsec_of_the_service_behind"
FORWARD = """\
  all:
    events: ["*"]
    actions:
      forward: {uses: http_forward, with: {connection: behind}}
"""


@pytest.fixture
async def forwarded(serve: Serve) -> tuple[str, list[tuple[bytes, str]]]:
    """A service's URL, and what it was sent: body and Stripe-Signature."""
    seen: list[tuple[bytes, str]] = []

    async def take(request: web.BaseRequest) -> web.Response:
        seen.append((await request.read(), request.headers["Stripe-Signature"]))
        return web.Response()

    return await serve(take) + "/", seen


async def forward_some(folder: Path, forwarded: tuple[str, list[tuple[bytes, str]]]) -> list[dict[str, Any]]:
    """Sends events through a gateway; those events."""
    url, seen = forwarded
    behind = (
        f'  behind: {{type: http, url: "{url}", signature: stripe, signing_secret: {SECRET}, allow_private: true}}\n'
    )
    text = config(FORWARD, "http://127.0.0.1:9").replace("connections:\n", f"connections:\n{behind}")
    events = [make_event(), make_event("invoice.paid", object={"note": "naïve ☃"}), make_event("customer.created")]
    async with gateway(folder, text) as running:
        for event in events:
            await running.post(event)
        await running.until_finished()
    assert len(seen) == len(events)
    return events


async def test_python_s_construct_event_takes_it(
    tmp_path: Path, forwarded: tuple[str, list[tuple[bytes, str]]]
) -> None:
    events = await forward_some(tmp_path, forwarded)
    taken = [stripe.Webhook.construct_event(body, header, SECRET).id for body, header in forwarded[1]]
    assert sorted(taken) == sorted(event["id"] for event in events)
    body, header = forwarded[1][0]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", header, SECRET)


async def test_node_s_construct_event_takes_it(tmp_path: Path, forwarded: tuple[str, list[tuple[bytes, str]]]) -> None:
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / "stripe").is_dir():
        assert not os.environ.get("CI"), "CI installs node and tests/acceptance/node"
        pytest.skip("needs node, and `npm install` in tests/acceptance/node")
    events = await forward_some(tmp_path, forwarded)
    cases = [*forwarded[1], (forwarded[1][0][0] + b" ", forwarded[1][0][1])]
    lines = [
        json.dumps({"body": base64.b64encode(body).decode(), "header": header, "secret": SECRET})
        for body, header in cases
    ]
    done = subprocess.run(
        [node, "construct_event.js"],
        cwd=NODE,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_SECONDS,
    )
    *taken, altered = done.stdout.splitlines()
    assert sorted(taken) == sorted(event["id"] for event in events)
    assert altered.startswith("refused: No signatures found matching the expected signature for payload")
