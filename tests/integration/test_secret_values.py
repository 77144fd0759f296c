"""What `${...}` brought into an action's `with` is sent, and neither stored nor shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from gateway.app.gateway import running
from gateway.config.load import load
from gateway.core.model import DeliveryState
from gateway.telemetry.logging import configure
from gateway.testing import make_event
from tests.integration.live_gateway import SECRET, LiveGateway

KEY, PASSWORD, ROTATED = "warehouse-key-4711", 'p"w/4712 #9', "rotated-key-4713"
CONFIG = """\
version: 1
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0"}}
store: {{url: "sqlite:///data/gateway.db", compress: false}}
reload: {{watch: false}}
accounts:
  acme: {{signing_secrets: [{secret}]}}
connections:
  warehouse: {{type: http, url: "{url}", allow_private: true}}
routes:
  orders:
    events: ["*"]
    actions:
      ship:
        uses: http_forward
        with:
          connection: warehouse
          headers: {{X-Api-Key: "${{WAREHOUSE}}", X-Pass: "Basic ${{file:pw.txt}}"}}
          body: {{nested: [{{deep: "key ${{WAREHOUSE}}"}}], id: "{{{{ object.id }}}}"}}
"""


async def test_a_secret_of_a_with_is_sent_and_neither_stored_nor_shown(
    tmp_path: Path, aiohttp_server: AiohttpServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    requests: list[tuple[Any, Any, Any]] = []

    async def echo(request: web.Request) -> web.Response:
        body = await request.json()
        requests.append((request.headers["X-Api-Key"], request.headers["X-Pass"], body["nested"]))
        answer = {"you_sent": [*requests[-1]], "before": KEY}
        return web.json_response(answer, status=400 if len(requests) == 1 else 200)

    application = web.Application()
    application.router.add_post("/", echo)
    sink = await aiohttp_server(application)
    monkeypatch.setenv("WAREHOUSE", KEY)
    (tmp_path / "pw.txt").write_text(PASSWORD + "\n")
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG.format(secret=SECRET, url=sink.make_url("/")))
    shown = []
    async with running(load(path, os.environ), configure("debug", "json")) as ready:
        gateway = LiveGateway(tmp_path, ready)
        assert await gateway.post(make_event(object={"id": "cs_1"})) == 200
        dead = (await gateway.finished())["ship"]
        monkeypatch.setenv("WAREHOUSE", ROTATED)
        await gateway.reloader.reload("a test")
        assert await gateway.post(make_event(object={"id": "cs_2"})) == 200
        done = (await gateway.finished())["ship"]
        assert (dead.state, done.state) == (DeliveryState.DEAD, DeliveryState.SUCCEEDED)
        for delivery in (dead, done):
            shown += [await gateway.page(f"{where}/deliveries/{delivery.id}") for where in ("/api/v1", "")]
        for page in ("/deliveries", "/config", "/api/v1/config", "/api/v1/deliveries"):
            shown.append(await gateway.page(page))
    assert requests == [(key, f"Basic {PASSWORD}", [{"deep": f"key {key}"}]) for key in (KEY, ROTATED)]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert b"${WAREHOUSE}" in stored
    assert "${WAREHOUSE}" in shown[0]
    assert '"answer":"400 Bad Request"' in shown[0]
    assert "What was sent, and what came back" in shown[1]
    structlog.reset_defaults()
    log = capfd.readouterr()
    for text in (*shown, stored.decode("latin-1"), log.out, log.err):
        for secret in (KEY, ROTATED, PASSWORD, PASSWORD.replace('"', '\\"'), "p&#34;w/4712 #9"):
            assert secret not in text
