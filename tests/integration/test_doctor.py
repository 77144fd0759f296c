"""`gateway doctor` on a whole configuration: real servers, a stand-in for Stripe, plugins that misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import sys
import time
from pathlib import Path

import pytest
import structlog
from aiohttp import web

from gateway.cli.doctor.run import Line, checks_of, examine
from gateway.config.load import load
from tests.acceptance.harness import ROOT, free_port
from tests.http_service import Serve
from tests.stripe_standin import ORG_KEY, TEST_KEY, StripeStandin

CONFIG = """\
version: 1
plugins: [plugins]
stripe: {{api_base: "{stripe}"}}
accounts:
  acme: {{signing_secrets: [whsec_0123456789abcdef], api_key: "{key}", livemode: false}}
connections:
  shop: {{type: database, url: "sqlite:///data/shop.db"}}
  spare: {{type: database, url: "sqlite:///data/spare.db"}}
  warehouse: {{type: http, url: "{service}", allow_private: true}}
routes:
  fulfil:
    events: [checkout.session.completed, invoice.paid]
    actions:
      save: {{uses: db_upsert, with: {{connection: shop, table: orders, key: {{id: "{{{{ object.id }}}}"}}}}}}
      ship: {{uses: http_forward, with: {{connection: warehouse}}}}
      log: {{uses: audit, with: {{}}}}
"""
ENDPOINT = "endpoint we_1 (https://a.example/webhooks/acme)"
QUIET = """
from gateway.plugin import Action, Settings
class AuditSettings(Settings):
    pass
class Audit(Action[AuditSettings]):
    name = "audit"
    Settings = AuditSettings
"""


class Outside:
    """What the configuration talks of."""

    def __init__(self, folder: Path, stripe: StripeStandin, service: str) -> None:
        self.folder, self.stripe, self.service = folder, stripe, service
        (folder / "plugins").mkdir()
        self.plugin(QUIET)

    def plugin(self, code: str) -> None:
        (self.folder / "plugins" / "audit.py").write_text(code)

    def config(self, **changes: str) -> Path:
        path = self.folder / "gateway.yaml"
        path.write_text(
            CONFIG.format(**{"stripe": self.stripe.url, "key": TEST_KEY, "service": self.service, **changes})
        )
        return path

    async def lines(self, seconds: float = 10.0, **changes: str) -> list[Line]:
        checks = checks_of(load(self.config(**changes), {}), structlog.get_logger(), seconds)
        return await examine(checks, seconds)

    async def told(self, name: str, seconds: float = 10.0, **changes: str) -> list[tuple[str, str]]:
        lines = await self.lines(seconds, **changes)
        return [(line.finding.verdict.value, line.finding.text) for line in lines if line.name == name]


@pytest.fixture
async def outside(tmp_path: Path, standin: StripeStandin, serve: Serve) -> Outside:
    standin.endpoints["we_1"] = {
        "id": "we_1", "object": "webhook_endpoint", "url": "https://a.example/webhooks/acme", "status": "enabled",
        "api_version": None, "enabled_events": ["checkout.session.completed", "charge.refunded"], "livemode": False,
    }  # fmt: skip

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=405)

    return Outside(tmp_path, standin, await serve(answer) + "/hooks")


async def run(config: Path, *words: str) -> tuple[int, str, str]:
    """The command, as a person starts it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "--config", str(config), "doctor", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    out, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


async def test_everything_outside_is_told_in_the_order_of_the_file(outside: Outside) -> None:
    lines = await outside.lines()
    assert [(line.kind, line.name, line.finding.use, line.finding.verdict.value) for line in lines] == [
        ("store", "inbox", "", "good"),
        ("store", "inbox", "", "good"),
        ("account", "acme", "", "good"),
        ("account", "acme", "", "good"),
        ("account", "acme", "", "good"),
        ("account", "acme", "", "bad"),
        ("account", "acme", "", "note"),
        ("connection", "shop", "", "good"),
        ("connection", "shop", "fulfil.save", "bad"),
        ("connection", "spare", "", "good"),
        ("connection", "warehouse", "", "good"),
    ]
    assert sorted(path.name for path in outside.folder.iterdir()) == ["gateway.yaml", "plugins"]  # nothing was made


async def test_the_command_says_one_line_each_with_the_fix_and_exits_with_1(outside: Outside) -> None:
    code, out, error = await run(outside.config())
    assert (code, error) == (1, "")
    assert (
        "bad   connection shop (fulfil.save)  there is no table orders -> create it, or say ensure_table: true\n" in out
    )
    assert out.endswith("8 good, 1 note, 2 bad\n")
    assert "\x1b" not in out


async def test_the_command_exits_with_0_where_nothing_is_bad(outside: Outside) -> None:
    code, out, _ = await run(outside.config(), "--only", "spare", "--only", "inbox", "--json")
    assert code == 0
    rows = json.loads(out)
    assert {row["name"] for row in rows} == {"inbox", "spare"}
    assert rows[-1] == {
        "kind": "connection", "name": "spare", "use": None, "verdict": "good",
        "text": "there is no file spare.db yet; the first row makes it", "fix": None,
    }  # fmt: skip


async def test_a_name_that_is_not_there_is_bad_usage(outside: Outside) -> None:
    assert await run(outside.config(), "--only", "warehose") == (
        2, "", "--only: there is no 'warehose'; did you mean warehouse?\n",
    )  # fmt: skip


async def test_stripe_is_asked_for_the_endpoint_and_what_it_sends(outside: Outside) -> None:
    assert await outside.told("acme") == [
        ("good", "its api_key is of test mode, as livemode allows"),
        ("good", "its key is good: acct_platform"),
        ("good", f"{ENDPOINT} is enabled and sends events in the account's default version"),
        ("bad", "the endpoint does not send what routes want: invoice.paid"),
        ("note", "the endpoint sends types that no route wants: charge.refunded"),
    ]  # fmt: skip


async def test_an_endpoint_of_another_version_than_the_accounts_is_told(outside: Outside) -> None:
    outside.stripe.endpoints["we_1"]["api_version"] = "2024-06-20"
    _, _, line, *_ = await outside.told("acme", key=f'{TEST_KEY}", api_version: "2026-10-28.endive')
    assert line == (
        "bad",
        f"{ENDPOINT} is enabled and sends events in version 2024-06-20, but accounts.acme.api_version is "
        "2026-10-28.endive",
    )


async def test_a_key_that_stripe_does_not_know_is_told_without_it(outside: Outside) -> None:
    _, (verdict, text) = await outside.told("acme", key="sk_test_nobodyknowsme")
    assert verdict == "bad"
    assert text.startswith("Stripe does not accept accounts.acme.api_key")
    assert "nobodyknowsme" not in text


async def test_a_restricted_key_is_told_what_it_lacks(outside: Outside) -> None:
    outside.stripe.keys["rk_test_little"] = set()
    _, *found = await outside.told("acme", key="rk_test_little")
    assert [verdict for verdict, _ in found][-1] == "note"


async def test_an_organisation_s_key_is_tried_on_the_accounts_that_are_named(outside: Outside) -> None:
    named = f'{ORG_KEY}", connected_accounts: {{acct_1: {{}}, acct_9: {{}}}}, api_rate: "100/s'
    good, bad, destinations = await outside.told("acme", key=named)
    assert good == ("good", "its key is good for acct_platform")
    assert bad[0] == "bad"
    assert bad[1].startswith("its key is not taken for acct_9: Stripe refuses GET /v1/account to accounts.acme.api_key")
    assert destinations == ("note", "an organisation's event destinations are not looked at")
    assert [asked.headers["Stripe-Context"] for asked in outside.stripe.requests] == ["acct_1", "acct_9"]


async def test_an_organisation_whose_accounts_are_not_named_is_not_asked(outside: Outside) -> None:
    (verdict, text), _ = await outside.told("acme", key=ORG_KEY)
    assert verdict == "note"
    assert text == "its api_key is an organisation's: Stripe is not asked, since each request names an account"
    assert outside.stripe.requests == []


async def test_an_account_without_a_key_is_no_fault(outside: Outside) -> None:
    assert await outside.told("acme", key="") == [("note", "has no api_key, so Stripe is not asked")]
    assert outside.stripe.requests == []


async def test_a_stripe_that_does_not_answer_is_told(outside: Outside) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    _, (verdict, text) = await outside.told("acme", stripe=dead)
    assert verdict == "bad"
    assert text.startswith(f"Stripe does not answer at {dead}: ")


async def test_checks_run_side_by_side_and_each_ends_in_time(outside: Outside) -> None:
    outside.plugin(QUIET + PROBE.format(body="yield Finding.good('began'); await asyncio.Event().wait()"))
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        lines = await outside.lines(5.0, service=f"http://127.0.0.1:{silent.getsockname()[1]}/")
    assert time.monotonic() - start < 60
    found = {line.name: line.finding for line in lines if line.finding.text.startswith("no answer")}
    assert set(found) == {"warehouse", "audit"}
    assert found["audit"].text == "no answer within 5s"
    assert [line.finding.text for line in lines if line.name == "audit"] == ["began", "no answer within 5s"]


@pytest.mark.parametrize(
    ("body", "verdict", "text"),
    [
        ("yield Finding.good(f'{len(context.uses)} uses, {context.uses[0].place}')", "good", "1 uses, fulfil.log"),
        ("raise Reject('no paper'); yield", "bad", "no paper"),
        ("raise OSError(13, 'Permission denied'); yield", "bad", "Permission denied"),
        ("raise ZeroDivisionError('oh'); yield", "bad", "its probe failed: ZeroDivisionError: oh"),
    ],
)
async def test_third_party_actions_take_part(outside: Outside, body: str, verdict: str, text: str) -> None:
    outside.plugin(QUIET + PROBE.format(body=body))
    assert await outside.told("audit") == [(verdict, text)]


async def test_secrets_are_masked_in_what_others_say(outside: Outside) -> None:
    outside.plugin(QUIET + PROBE.format(body=f"raise Reject('refused {TEST_KEY}'); yield"))
    _, out, _ = await run(outside.config(), "--only", "audit")
    assert "refused ***" in out
    assert TEST_KEY not in out


async def test_a_table_that_is_there_is_good_and_stays_as_it_is(outside: Outside) -> None:
    (outside.folder / "data").mkdir()
    shop = outside.folder / "data" / "shop.db"
    with sqlite3.connect(shop) as connection:
        connection.execute("CREATE TABLE orders (id TEXT PRIMARY KEY)")
    connection.close()
    before = shop.read_bytes()
    assert (await outside.told("shop"))[1] == ("good", "table orders has its 1 columns and a unique index on its key")
    assert shop.read_bytes() == before


PROBE = """
    async def probe(self, context):
        import asyncio
        from gateway.plugin import Finding, Reject
        {body}
"""
