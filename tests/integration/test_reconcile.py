"""`reconcile` in a running gateway: at the start, again and again, by one gateway at a time; where events came from."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gateway.testing import make_event
from tests.acceptance.test_cli_stripe import Run, run
from tests.in_process import InProcess, config, gateway
from tests.stripe_standin import Fault, StripeStandin
from tests.waiting import until

__all__ = ["run"]
pytestmark = pytest.mark.slow

ROUTES = """\
  keep:
    connected_accounts: ["*", none]
    events: [customer.*]
    actions:
      save:
        uses: db_upsert
        with: {connection: shop, table: t, ensure_table: true, key: {id: "{{ object.id }}"}}
"""


def settings(every: str = "10m", more: str = "") -> str:
    return f"    reconcile: {{every: {every}, look_back: 3d{more}}}\n"


def missed(standin: StripeStandin, count: int = 1, *, age: float = 3600, account: str = "") -> list[str]:
    """So many customers that Stripe could not tell of; their ids."""
    ids = []
    for _ in range(count):
        event = make_event("customer.created", created=int(time.time() - age))
        standin.add_event(event, account=account, delivered=False)
        ids.append(event["data"]["object"]["id"])
    return sorted(ids)


def logged(running: InProcess, name: str) -> list[dict[str, object]]:
    return [dict(call.kwargs) for call in running.log.calls if call.args == (name,)]


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that fails, as one may where the machine is busy, is not taken again a minute later, when nobody waits."""
    monkeypatch.setattr("gateway.intake.backfill.reconcile.AGAIN_SECONDS", 1.0)


async def test_what_was_missed_is_made_good_at_the_start(tmp_path: Path, standin: StripeStandin) -> None:
    ids = missed(standin, 50)
    ids += missed(standin, 1, age=0)  # the very last before the start
    missed(standin, 1, age=4 * 86400)  # further back than is looked
    async with gateway(tmp_path, config(ROUTES, standin.url, account=settings())) as running:
        await until(lambda: bool(logged(running, "reconcile.finished")), seen=lambda: str(running.log.calls)[:3000])
        await running.until_finished()
        assert [row for (row,) in running.shop("SELECT id FROM t ORDER BY id")] == sorted(ids)
        assert running.rows("SELECT DISTINCT source FROM events") == [("reconcile",)]
        (told,) = logged(running, "reconcile.finished")
        assert (told["account"], told["seen"], told["new"], told["unwanted"]) == ("acme", 51, 51, 0)


async def test_it_asks_again_and_leaves_to_stripe_what_is_just_being_delivered(
    tmp_path: Path, standin: StripeStandin
) -> None:
    async with gateway(tmp_path, config(ROUTES, standin.url, account=settings("1s"))) as running:
        await until(lambda: bool(logged(running, "reconcile.finished")), seen=lambda: str(running.log.calls)[:3000])
        missed(standin, 1, age=5)
        (older,) = missed(standin, 1, age=70)
        await until(lambda: any(told["new"] for told in logged(running, "reconcile.finished")))
        await running.until_finished()
        assert running.shop("SELECT id FROM t") == [(older,)]


async def test_each_event_says_where_it_came_from(tmp_path: Path, standin: StripeStandin, run: Run) -> None:
    missed(standin)
    async with gateway(tmp_path, config(ROUTES, standin.url, account=settings())) as running:
        await until(lambda: bool(logged(running, "reconcile.finished")), seen=lambda: str(running.log.calls)[:3000])
        await running.post(make_event("customer.created"))
        url = f"{running.url}/webhooks/acme"
        code, _, error = await asyncio.to_thread(run, "send", "customer.created", "--url", url)
        assert code == 0, error
        missed(standin)
        code, out, error = await asyncio.to_thread(run, "backfill", "--since", "2h")
        assert code == 0, error
        assert "2 events from " in out
        assert "1 of them new in the inbox" in out
        assert running.rows("SELECT source FROM events ORDER BY seq") == [
            ("reconcile",), ("webhook",), ("send",), ("backfill",),
        ]  # fmt: skip
        await running.until_finished()
        assert len(running.shop("SELECT id FROM t")) == 4


async def test_connected_accounts_are_reconciled_where_they_are_named(tmp_path: Path, standin: StripeStandin) -> None:
    ids = missed(standin) + missed(standin, account="acct_1")
    more = ', connected_accounts: ["*"]'
    async with gateway(tmp_path, config(ROUTES, standin.url, account=settings(more=more))) as running:
        await until(lambda: bool(logged(running, "reconcile.finished")), seen=lambda: str(running.log.calls)[:3000])
        await running.until_finished()
        assert running.rows("SELECT connected_account FROM events ORDER BY seq") == [(None,), ("acct_1",)]
        assert [row for (row,) in running.shop("SELECT id FROM t ORDER BY id")] == sorted(ids)


async def test_a_refusal_is_told_and_asked_again(
    tmp_path: Path, standin: StripeStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.intake.backfill.reconcile.AGAIN_SECONDS", 0.05)
    missed(standin)
    standin.faults.append(Fault(403, "Having the 'event_read' permission would allow this request to continue."))
    async with gateway(tmp_path, config(ROUTES, standin.url, account=settings())) as running:
        await until(lambda: bool(logged(running, "reconcile.finished")), seen=lambda: str(running.log.calls)[:3000])
        await running.until_finished()
        (told,) = logged(running, "reconcile.failed")
        assert told["error"] == (
            "accounts.acme.api_key lacks the permission 'event_read', which GET /v1/events needs (request req_1); give "
            "it to the key at Stripe, then retry"
        )


async def test_intake_goes_on_while_stripe_does_not_answer(tmp_path: Path, standin: StripeStandin) -> None:
    standin.faults.extend([Fault(hang=True)] * 3)
    async with gateway(tmp_path, config(ROUTES, standin.url, account=settings())) as running:
        await until(lambda: bool(standin.requests))
        await running.post(make_event("customer.created"))
        await running.until_finished()
        assert len(running.shop("SELECT id FROM t")) == 1


async def test_of_several_gateways_one_reconciles_and_it_counts_for_all(
    tmp_path: Path, standin: StripeStandin, inbox_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.intake.backfill.reconcile.ELSEWHERE_SECONDS", 0.05)
    ids = missed(standin, 300)
    standin.gate.clear()
    text = config(ROUTES, standin.url, account=settings("5m"), inbox=inbox_url)
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    shared = text.replace("sqlite:///shop.db", f"sqlite:///{tmp_path}/shop.db")
    async with (
        gateway(folders[0], shared) as one,
        gateway(folders[1], shared) as two,
        gateway(folders[2], shared) as three,
    ):
        all_three = (one, two, three)
        await until(lambda: sum(bool(logged(each, "reconcile.elsewhere")) for each in all_three) == 2)
        standin.gate.set()
        await until(lambda: any(logged(each, "reconcile.finished") for each in all_three))
        shop = str(tmp_path / "shop.db")
        await until(lambda: one.rows("SELECT count(*) FROM sqlite_master WHERE name = 't'", shop) == [(1,)])
        await until(lambda: one.rows("SELECT count(*) FROM t", shop) == [(len(ids),)])
        assert sum(len(logged(each, "reconcile.finished")) for each in all_three) == 1
        assert standin.most_at_once == 1
