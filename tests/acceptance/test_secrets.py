"""Secrets reach nobody, and what an account redacts is shown to nobody: one is planted wherever one can be, everything
is driven, and all that came of it is searched.

A new command or a new route that is not driven here fails the test.
"""

from __future__ import annotations

import asyncio
import base64
import html
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import pytest
from typer.main import get_command

import gateway.cli
from gateway.admin.app import entries
from gateway.admin.request import AdminParts
from gateway.testing import make_event, signed_request
from tests.acceptance.harness import ROOT, GatewayProcess, free_port
from tests.acceptance.planted_connections import Planting, certificate
from tests.cli import CommandLine
from tests.waiting import HANG_SECONDS, wait_until

pytestmark = pytest.mark.slow

PLUGIN = '''\
from typing import Annotated, Any, ClassVar, Literal
from pydantic import SecretStr
from gateway.plugin import Action, Connection, ConnectionSettings, Settings, Text

class FaxConnection(ConnectionSettings):
    """A fax machine."""
    type: Literal["fax"]
    pin: SecretStr

class FaxSettings(Settings):
    connection: Annotated[str, Connection(FaxConnection)]
    text: Annotated[str, Text()]

class Fax(Action[FaxSettings]):
    """Faxes."""
    name: ClassVar[str] = "fax"
    Settings: ClassVar[type[Settings]] = FaxSettings
    async def run(self, settings: FaxSettings, context: Any) -> Any:
        raise RuntimeError(f"it broke with {context.connection.pin.get_secret_value()} and {settings.text}")
'''


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SECRETS = {
    "signing": "whsec_" + _b64("planted signing secret"),
    "old_signing": "whsec_" + _b64("planted old signing secret"),
    "api_key": "rk_test_plantedApiKey0123456789",
    "token": "planted-operator-token-1",
    "viewer": "planted-viewer-token-2",
    "store_key": _b64("planted store key, of 32 bytes.."),
    "database": "planted-database-password",
    "database_beside": "planted/pass?word#11@db",
    "smtp": "planted-smtp-password",
    "http_signing": "whsec_" + _b64("planted forward secret"),
    "http_header": "planted-header-token",
    "http_user": "planted-url-password",
    "http_query": "planted-query-key",
    "slack_url": "planted/slack/webhook",
    "slack_token": "xoxb-planted-slack-token",
    "plugin": "planted-plugin-pin",
    "tracing": "planted-tracing-token",
    "of_file": "planted-in-a-file",
    "of_variable": "planted-in-a-variable",
    "of_store_url": "planted-store-url-password",
    "with_header": "planted-with-header-7",
    "with_file": "planted-in-a-file-8",
    "with_nested": 'planted "nested" value 9, with quotes',
    "constant": "planted/constant/10",
    "redacted_field": "planted.customer@example.com",
}
PLANTING = Planting()
SECRETS |= PLANTING.secrets
MAY_LIE_IN_THE_STORE = frozenset({"redacted_field"})

VARIABLES = {  # that a name tells of, and such whose names tell of nothing
    "PLANTED_TOKEN": SECRETS["of_variable"],
    "SHOP_VALUE": SECRETS["with_header"],
    "SHOP_NESTED": SECRETS["with_nested"],
    "SHOP_GREETING": SECRETS["constant"],
}

CONFIG = """\
version: 1
log: {{level: debug, format: json}}
plugins: [plugins]
server: {{listen: "127.0.0.1:{port}"}}
admin: {{listen: "127.0.0.1:{admin}", token: {token}, viewer_token: {viewer}}}
store: {{url: "sqlite:///data/gateway.db", encrypt: ["{store_key}"]}}
stripe: {{api_base: "http://127.0.0.1:9", timeout: 1s}}
tracing: {{endpoint: "http://127.0.0.1:9", headers: {{Authorization: "Bearer {tracing}"}}, timeout: 1s}}
defaults: {{retry: {{attempts: 1, first: 1s}}, timeout: 5s}}
vars: {{greeting: "Hello ${{SHOP_GREETING}}"}}
accounts:
  acme:
    signing_secrets: ["{signing}", "{old_signing}"]
    api_key: {api_key}
    redact: [data.object.customer_details]
connections:
  shop: {{type: database, url: "postgresql://me:{database}@127.0.0.1:9/shop", breaker: false}}
  stock:
    type: database
    url: "postgresql://127.0.0.1:9"
    user: me
    password: "{database_beside}"
    database: stock
    breaker: false
  mail: {{type: smtp, host: 127.0.0.1, port: 9, from: a@b.example, username: me, password: {smtp}, breaker: false}}
  warehouse:
    type: http
    url: "http://me:{http_user}@127.0.0.1:9/hooks?key={http_query}"
    signing_secret: "{http_signing}"
    headers: {{X-Authorization: "Bearer {http_header}", X-File: "${{file:secret.txt}}", X-Var: "${{PLANTED_TOKEN}}"}}
    allow_private: true
    breaker: false
  team: {{type: slack, webhook_url: "http://127.0.0.1:9/{slack_url}", breaker: false}}
  bot: {{type: slack, token: {slack_token}, channel: general, api_url: "http://127.0.0.1:9", breaker: false}}
  fax: {{type: fax, pin: {plugin}, breaker: false}}
routes:
  all:
    events: ["*"]
    actions:
      save:
        uses: db_upsert
        with: {{connection: shop, table: t, key: {{id: "{{{{ object.customer_details.email }}}}"}}, values: {{a: 1}}}}
      look: {{uses: db_query, with: {{connection: stock, statement: "SELECT 1"}}}}
      tell:
        uses: email
        with: {{connection: mail, to: x@y.example, subject: s, text: "to {{{{ object.customer_details.email }}}}"}}
      ship:
        uses: http_forward
        with:
          connection: warehouse
          headers: {{X-Api-Key: "${{SHOP_VALUE}}", X-Pass: "Basic ${{file:with.txt}}"}}
          body: {{nested: [{{deep: "for ${{SHOP_NESTED}}"}}], greeting: "{{{{ vars.greeting }}}} {{{{ object.id }}}}"}}
      note:
        uses: fax
        with: {{connection: fax, text: "${{SHOP_VALUE}} ${{file:with.txt}} ${{SHOP_NESTED}} {{{{ vars.greeting }}}}"}}
      post: {{uses: slack, with: {{connection: team, text: hello}}}}
      chat: {{uses: slack, with: {{connection: bot, text: hello}}}}
      fax: {{uses: fax, with: {{connection: fax, text: "{{{{ object.customer_details.email }}}}"}}}}
      fails: {{uses: fax, with: {{connection: fax, text: "{{{{ object.no_such_field }}}}"}}}}
"""
TESTS = """\
cases:
  paid:
    event: checkout.session.completed
    expect: {}
"""

LIST = [["list"], ["list", "--json"]]
COMMANDS: dict[str, list[list[str]]] = {
    "actions": [[], ["--json"]],
    "backfill": [["--dry-run"], ["--yes"]],
    "check": [[], ["--json"], ["--strict"]],
    "connections list": [[], ["--json"]],
    "connections pause": [["warehouse", "--reason", "a rest"]],
    "connections resume": [["warehouse"]],
    "connections show": [
        [one] for one in ("shop", "stock", "mail", "warehouse", "team", "bot", "fax", *PLANTING.connections)
    ]
    + [["warehouse", "--json"], ["none"]],
    "cover": [[], ["--json"]],
    "db backup": [["kept.db"], ["kept.db", "--json"]],
    "db copy": [["--to", "postgresql://me:planted-database-password@127.0.0.1:9/x"]],
    "db compact": [[], ["--json"]],
    "db encrypt": [[], ["--json"]],
    "db migrate": [[]],
    "db restore": [["kept.db"], ["none.db"]],
    "db status": [[], ["--json"]],
    "audit": [["all"], ["all", "--json"]],
    "deliveries approve": [["DELIVERY"]],
    "deliveries refuse": [["DELIVERY", "--json"]],
    "deliveries cancel": [["--state", "dead", "--limit", "1", "--yes"]],
    "deliveries list": [[], ["--json"], ["--connection", "warehouse"], ["--connection", "none"]],
    "deliveries retry": [["--state", "dead", "--limit", "1", "--yes"]],
    "deliveries show": [["DELIVERY"], ["DELIVERY", "--json"], ["none"]],
    "dev": [],  # test_dev_shows_no_secret
    "diff": [[], ["--json"]],
    "doctor": [["--timeout", "2s"], ["--timeout", "2s", "--json"]],
    "endpoints diff": [["--url", "https://hooks.acme.example"], ["--json"]],
    "endpoints list": [[], ["--json"]],
    "endpoints sync": [["--url", "https://hooks.acme.example", "--yes"]],
    "events list": [[], ["--json"]],
    "events replay": [["EVENT", "--dry-run"], ["EVENT"]],
    "events show": [["EVENT"], ["EVENT", "--json"], ["none"]],
    "explain": [["checkout.session.completed"], ["--id", "EVENT", "--json"], ["no-such-file.json"]],
    "forget": [["cus_Nobody", "--dry-run"], ["nobody"]],
    "init": [["--yes"]],
    "listen": [["--api-key", SECRETS["api_key"], "--account", "none"]],
    "rejected": [[], ["--json"]],
    "rejected show": [["REJECTED"], ["REJECTED", "--json"], ["none"]],
    "rejected verify": [["--dry-run"], ["--yes"]],
    "reload": [[], ["--json"]],
    "routes list": [[], ["--json"]],
    "routes pause": [["all", "--reason", "a rest"]],
    "routes resume": [["all"]],
    "schema": [[], ["--markdown"]],
    "seed": [["all", "--since", "1d", "--dry-run"]],
    "send": [["checkout.session.completed"], ["checkout.session.completed", "--url", "http://127.0.0.1:9"]],
    "serve": [],  # the gateway beside
    "stripe-ips refresh": [["--url", "http://127.0.0.1:9/ips.json"]],
    "stripe-ips show": [[]],
    "tail": [["--since", "1h", "--for", "0s"], ["--since", "1h", "--for", "0s", "--json"]],
    "test": [[], ["--verbose", "--json"]],
    "top": [["--once"], ["--json"]],
    "types": [["checkout"]],
    "fields": [["invoice.paid", "status"]],
}


def with_all(text: str) -> str:
    """A configuration with a connection for every secret key that there is, and an action for each."""
    for heading, indent, members in (("\nroutes:\n", 2, PLANTING.connections), (None, 6, PLANTING.actions)):
        lines = "".join(f"{' ' * indent}{name}: {json.dumps(value)}\n" for name, value in members.items())
        text = text + lines if heading is None else text.replace(heading, f"\n{lines}{heading[1:]}")
    return text


def encrypted_certificates(folder: Path) -> None:
    """Client certificates whose keys are encrypted."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    for name, secret in PLANTING.secrets.items():
        kind, _, key = name.partition(".")
        if key == "tls.password":
            files = {option: str(folder / file) for option, file in certificate(kind).items()}
            options = ["-subj", "/CN=me", "-keyout", files["key"], "-out", files["cert"], "-passout", f"pass:{secret}"]
            subprocess.run([*command, *options], check=True, capture_output=True)


def event() -> dict[str, Any]:
    """One that has a field which the account redacts."""
    customer = {"email": SECRETS["redacted_field"], "name": SECRETS["redacted_field"]}
    return make_event(object={"customer_details": customer})


BODIES: dict[str, Any] = {
    "/api/v1/events/replay": {"events": [{"id": "EVENT", "account": "acme"}], "dry_run": True},
    "/api/v1/deliveries/retry": {"ids": ["DELIVERY"]},
    "/api/v1/deliveries/cancel": {"ids": ["DELIVERY"]},
    "/api/v1/rejected/verify": {"dry_run": True},
    "/api/v1/jobs": {"what": "retry", "deliveries": {"state": ["dead"]}},
    "/api/v1/playground": {"event": json.dumps(event())},
    "/api/v1/customers/forget": {"customer": "cus_Nobody", "dry_run": True},
}


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command, and every group that does something by itself."""
    is_group = hasattr(command, "list_commands")
    if not is_group or command.invoke_without_command:
        yield " ".join(words)
    for name in command.list_commands(None) if is_group else ():
        yield from commands(command.get_command(None, name), (*words, name))


def routes() -> list[tuple[str, str]]:
    """Every method and path of the admin listener."""
    settings = SimpleNamespace(admin=SimpleNamespace(metrics_public=False))
    made = SimpleNamespace(gateway=SimpleNamespace(config=SimpleNamespace(settings=settings)), outbox=object())
    return [(entry.method, entry.path) for entry in entries(cast(AdminParts, made))]


def leaks(where: str, text: bytes, allowed: frozenset[str] = frozenset()) -> list[str]:
    """The names of secrets in a text, as they are and as they stand in URLs and headers."""
    found = []
    for name, secret in SECRETS.items():
        forms = {secret, secret.removeprefix("whsec_"), _b64(secret), secret.replace("/", "%2F")}
        forms |= {json.dumps(secret)[1:-1], html.escape(secret), quote(secret)}
        if name not in allowed and any(form.encode() in text for form in forms):
            found.append(f"{name} in {where}")
    return found


class Planted(GatewayProcess):
    """A gateway whose configuration is full of secrets, and what was seen of it."""

    def __init__(self, folder: Path, command_line: CommandLine) -> None:
        self.port, admin = free_port(), free_port()
        self.command_line = command_line
        super().__init__(folder, with_all(CONFIG.format(port=self.port, admin=admin, **SECRETS)), self.port, admin)
        encrypted_certificates(folder)
        self.environ = VARIABLES
        (folder / "plugins").mkdir()
        (folder / "plugins/fax.py").write_text(PLUGIN)
        (folder / "secret.txt").write_text(SECRETS["of_file"])
        (folder / "with.txt").write_text(SECRETS["with_file"] + "\n")
        (folder / "tests").mkdir()
        (folder / "tests/routes.yaml").write_text(TESTS)
        self.names: dict[str, str] = {}
        self.found: list[str] = []

    def look(self, where: str, text: str | bytes) -> None:
        """Searches what was shown."""
        self.found += leaks(where, text.encode() if isinstance(text, str) else text)

    def drive(self, command: str, words: list[str]) -> None:
        """Runs a command as a person would."""
        named = [self.names.get(word, word) for word in words]
        ran = self.command_line("--config", self.config, *command.split(), *named)
        self.look(f"`{command} {' '.join(words)}`", ran.out + ran.err)
        assert "Traceback" not in ran.err, (command, words, ran.err)

    @property
    def variables(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), **self.environ}

    async def ask(self, session: aiohttp.ClientSession, method: str, path: str) -> None:
        """Sends one request to the admin listener, in several ways."""
        url = self.admin_url + path
        for name, value in (("events/{id}", "EVENT"), ("deliveries/{id}", "DELIVERY")):
            url = url.replace(name, name.replace("{id}", self.names[value]))
        url = url.replace("{what:pause|resume|stop}", "stop").replace("{number:[0-9]+}", "1").replace("{id}", "none")
        body = json.dumps(BODIES.get(path, {})).replace("EVENT", self.names["EVENT"])
        body = body.replace("DELIVERY", self.names["DELIVERY"])
        kinds: tuple[dict[str, Any], ...] = ({},)
        if method == "POST":
            form = {"token": "wrong", "event": json.dumps(make_event()), "what": "retry", "state": "dead"}
            kinds = (
                {"data": body, "headers": {"Content-Type": "application/json"}},
                {"data": form},
                {"data": b"\xff{"},
            )
        for kind in kinds:
            for bearer in (SECRETS["token"], SECRETS["viewer"], None):
                headers = {**kind.get("headers", {}), **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
                more = {**kind, "headers": headers}
                async with session.request(method, url, allow_redirects=False, **more) as response:
                    text = await response.content.read(200) if path == "/live/events" else await response.read()
                    self.look(f"{method} {path} ({response.status})", text + str(response.headers).encode())
                    assert response.status < 500 or response.status == 503, (method, path, response.status, text)

    async def post_signed(self, secret: str) -> int:
        """Posts an event."""
        body = json.dumps(event()).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/webhooks/acme", data=body, headers=signed_request(body, secret)) as response,
        ):
            self.look("the answer to a post", await response.read())
            return response.status


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Planted]:
    made = Planted(tmp_path, CommandLine(monkeypatch, capfd))
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    yield made
    made.stop()


def test_every_command_and_every_route_is_driven_here() -> None:
    whole: Any = get_command(gateway.cli.app)
    whole.list_commands(None)  # imports them
    assert sorted(COMMANDS) == sorted(commands(whole))
    posts = {path for method, path in routes() if method == "POST" and path.startswith("/api/")}
    assert {path for path in posts if "{" not in path} == set(BODIES)


def test_no_secret_is_shown_by_anything(planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def begin() -> None:
        await planted.start()
        assert await planted.post_signed(SECRETS["signing"]) == 200
        assert await planted.post_signed(SECRETS["old_signing"]) == 200
        assert await planted.post_signed("whsec_wrong") == 401

    asyncio.run(begin())
    dead_and_rejected = "SELECT count(*) FROM deliveries WHERE state = 'dead' UNION ALL SELECT count(*) FROM rejected"
    wanted = [(2 * (9 + len(PLANTING.actions)),), (1,)]
    wait_until(lambda: planted.rows(dead_and_rejected) == wanted, 120, seen=planted.log.read_text)
    dead = planted.json("deliveries", "list", "--state", "dead", "--limit", "500")
    (rejected,) = planted.json("rejected")
    planted.names = {"EVENT": dead[0]["event_id"], "DELIVERY": dead[0]["id"], "REJECTED": rejected["id"]}
    for delivery in {delivery["action"]: delivery for delivery in dead}.values():
        planted.drive("deliveries show", [delivery["id"]])

    async def ask_everything() -> None:
        async with aiohttp.ClientSession() as session:
            for method, path in routes():
                await planted.ask(session, method, path)
            async with session.get(f"{planted.url}/healthz") as response:
                planted.look("/healthz", await response.read())

    asyncio.run(ask_everything())
    for command, ways in COMMANDS.items():
        for words in ways:
            with monkeypatch.context() as there:
                if command == "init":
                    elsewhere = tmp_path / "elsewhere"
                    elsewhere.mkdir()
                    there.chdir(elsewhere)
                planted.drive(command, words)
    assert not planted.found, "\n".join(planted.found)

    text = planted.config.read_text()
    broken = (
        text.replace('signing_secrets: ["', 'signing_secrets: [{a: "').replace('"], api', '"}], api'),
        text + "nonsense: [",
        text.replace("type: smtp", "type: smpt"),
        text.replace(", pin:", ", pni:"),
        text.replace("http://me:", "htp://me:"),
        text.replace('encrypt: ["', 'encrypt: ["x'),
        text.replace("token: ", "token: [").replace(", viewer", "], viewer"),
    )
    for bad in broken:
        planted.config.write_text(bad)
        planted.drive("reload", [])
        planted.drive("check", [])
        planted.drive("diff", [])
    planted.config.write_text(
        text.replace(
            "sqlite:///data/gateway.db", f"postgresql://me:{SECRETS['of_store_url']}@127.0.0.1:9/x?sslmode=disable"
        )
    )
    for command in ("db status", "db migrate", "doctor", "events list"):
        planted.drive(command, [])
    planted.config.write_text(text)
    planted.terminate()
    planted.look("the log", planted.log.read_bytes())
    for path in (planted.folder / "data").rglob("*"):
        if path.is_file():
            planted.found += leaks(str(path.relative_to(planted.folder)), path.read_bytes(), MAY_LIE_IN_THE_STORE)
    assert not planted.found, "\n".join(planted.found)


def test_dev_shows_no_secret(planted: Planted) -> None:
    with (planted.folder / "dev.txt").open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, "-m", "gateway", "--config", str(planted.config), "dev"],
            stdout=out, stderr=out, env=planted.variables, cwd=planted.folder,
        )  # fmt: skip
        try:
            wait_until(
                lambda: running.poll() is not None or b"gateway.ready" in (planted.folder / "dev.txt").read_bytes()
            )
            assert b"gateway.ready" in (planted.folder / "dev.txt").read_bytes()
            if running.poll() is None:
                planted.drive("send", ["checkout.session.completed"])
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(HANG_SECONDS)
    planted.look("gateway dev", (planted.folder / "dev.txt").read_bytes())
    assert not planted.found, "\n".join(planted.found)
