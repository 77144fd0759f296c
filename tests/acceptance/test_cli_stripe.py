"""The command line where it knows Stripe: `types`, `send --thin --connected-account`, `explain`, `events show`."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import make_event, thin_event
from tests.cli import CommandLine, Ran
from tests.in_process import config, gateway

Run = Callable[..., Ran]
ROUTES = """\
  sellers:
    connected_accounts: [acct_1]
    events: [customer.*, v1.customer.*]
    fetch: true
    actions:
      save:
        uses: db_upsert
        if: not object.deleted
        with: {connection: shop, table: t, ensure_table: true, key: {id: "{{ object.id }}"}}
"""


@pytest.fixture
def run(gateway_cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command on the configuration of the test, at a wide terminal where nobody types."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return partial(gateway_cli.beside, "--config", tmp_path / "gateway.yaml")


def test_types_searches_what_stripe_has(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("types", "checkout.session", "--json")
    found = json.loads(out)
    assert code == 0
    assert {"type": "checkout.session.completed", "thin": False, "own": False} in found
    assert {"type": "v1.checkout.session.completed", "thin": True, "own": False} in found
    assert all("checkout.session" in one["type"] for one in found)
    code, _, error = run("types", "chekout.session.completed")
    assert code == 1
    assert "did you mean checkout.session.completed?" in error


async def test_send_makes_thin_and_connect_events(run: Run, tmp_path: Path) -> None:
    routes = ROUTES.replace("fetch: true", "fetch: false").replace("if: not object.deleted\n", "\n")
    async with gateway(tmp_path, config(routes, "http://127.0.0.1:9")) as running:

        async def send(*words: str) -> Ran:
            return await asyncio.to_thread(run, "send", *words, "--url", f"{running.url}/webhooks/acme")

        assert (await send("customer.created", "--thin", "--connected-account", "acct_1"))[0] == 0
        assert (await send("v1.customer.updated", "--connected-account", "acct_2"))[0] == 0
        override = "data.object.email=a@b.example"
        assert (await send("customer.updated", "--connected-account", "acct_1", "--override", override))[0] == 0
        code, _, error = await send("customer.updated", "--connected-account", "me")
        assert (code, error.strip()) == (2, "--connected-account me: it begins with acct_")
        await running.until_finished()
        assert running.rows("SELECT type, connected_account, state FROM events ORDER BY seq") == [
            ("v1.customer.created", "acct_1", "routed"),
            ("v1.customer.updated", "acct_2", "unmatched"),
            ("customer.updated", "acct_1", "routed"),
        ]
        assert len(running.shop("SELECT id FROM t WHERE id LIKE 'cus_%'")) == 2


def explained(run: Run, folder: Path, event: dict[str, Any]) -> dict[str, Any]:
    (folder / "gateway.yaml").write_text(config(ROUTES, "http://127.0.0.1:9"))
    (folder / "event.json").write_text(json.dumps(event))
    code, out, error = run("explain", str(folder / "event.json"), "--json")
    assert code == 0, error
    found: dict[str, Any] = json.loads(out)[0]
    return found


def test_explain_says_why_a_connected_account_is_not_wanted(run: Run, tmp_path: Path) -> None:
    of_another = explained(run, tmp_path, make_event("customer.created", account="acct_2"))
    assert of_another["why"] == ("wants customer.* of connected_accounts: acct_1; this is of connected account acct_2")
    assert explained(run, tmp_path, make_event("customer.created"))["why"] == (
        "wants customer.* of connected_accounts: acct_1; this is of the account's own"
    )


def test_explain_says_that_fetch_will_ask(run: Run, tmp_path: Path) -> None:
    for event in (
        make_event("customer.created", account="acct_1"),
        thin_event("v1.customer.created", context="acct_1"),
    ):
        route = explained(run, tmp_path, event)
        assert route["is_fetch_assumed"]
        (action,) = route["actions"]
        assert action["rendered"]["table"] == "t"
        assert (action["state"], action["reason"]) == ("succeeded", None)


async def test_show_marks_tests_and_other_versions(run: Run, tmp_path: Path) -> None:
    account = "    api_version: 2026-10-28.endive\n"
    async with gateway(tmp_path, config(ROUTES, "http://127.0.0.1:9", account=account)) as running:
        await running.post(make_event(id="evt_00000000000000", api_version="2020-08-27"))
        ((event_id,),) = running.rows("SELECT id FROM events")
    shown = json.loads(run("events", "show", event_id, "--json")[1])
    assert (shown["test"], shown["api_version"], shown["written_for"]) == (True, "2020-08-27", "2026-10-28.endive")
    out = run("events", "show", event_id)[1]
    assert "the templates were written for 2026-10-28.endive: fields may have moved since" in out
