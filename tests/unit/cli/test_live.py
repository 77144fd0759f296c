"""What goes on being shown: tail, top, --watch; ages and colours at a terminal."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.admin.api.schemas import EventOut
from gateway.admin.waiting import Outcome
from gateway.cli.commands.tail import REMEMBERED, Told
from gateway.cli.live import LOOK_SECONDS, repeatedly
from gateway.cli.output import ago, coloured, print_table
from gateway.core.model import EventState, PlannedDelivery
from gateway.store.sqlite.store import SqliteStore
from tests.cli import StoreCommands
from tests.contract.test_store import DEAD, an_event, claim_all

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def an_event_out(number: int, outcome: Outcome | None = None) -> EventOut:
    return EventOut(
        id=f"evt_{number}", type="invoice.paid", account="acme", state=EventState.ROUTED, livemode=False, received_at=NOW,
        created_at=None, object_id=None, connected_account=None, source="webhook", test=False, api_version=None,
        written_for=None, outcome=outcome,
    )  # fmt: skip


def test_each_event_is_told_when_it_comes_and_when_its_outcome_changes() -> None:
    told = Told()
    assert [event.id for event in told.news([an_event_out(2), an_event_out(1)])] == ["evt_1", "evt_2"]
    assert told.news([an_event_out(2), an_event_out(1)]) == []
    news = told.news([an_event_out(3), an_event_out(2, "dead"), an_event_out(1)])
    assert [(event.id, event.outcome) for event in news] == [("evt_2", "dead"), ("evt_3", None)]


def test_what_was_told_is_remembered_within_bounds() -> None:
    told = Told()
    told.news([an_event_out(number) for number in range(REMEMBERED + 500)])
    assert len(told._outcomes) == REMEMBERED


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s ago"), (59, "59 s ago"), (90, "2 min ago"), (7200, "2 h ago"), (259200, "3 d ago"), (-3700, "in 1 h")],
)
def test_a_time_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == words


def test_at_a_terminal_times_are_ages_and_states_have_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row: list[object] = [(datetime.now(UTC) - timedelta(minutes=5)).isoformat(timespec="milliseconds"), "dead"]
    print_table(["received", "state"], [row])
    assert str(row[0]) in capsys.readouterr().out  # a program reads the time itself
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_table(["received", "state"], [row])
    printed = capsys.readouterr().out
    assert "5 min ago" in printed
    assert "\x1b[31mdead" in printed
    assert coloured("succeeded") == "\x1b[32msucceeded\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert coloured("succeeded") == "succeeded"


def test_watching_shows_it_again_and_again() -> None:
    shown, slept = [], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    repeatedly(lambda: shown.append(1), watch=False, sleep=sleep)
    assert (len(shown), slept) == (1, [])
    with pytest.raises(KeyboardInterrupt):
        repeatedly(lambda: shown.append(1), watch=True, sleep=sleep)
    assert (len(shown), slept) == (4, [LOOK_SECONDS] * 3)


async def test_tail_and_top_tell_what_the_inbox_holds(
    tmp_path: Path, run: StoreCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "x.db")
    await store.start()
    await store.add(an_event("evt_bad"), [PlannedDelivery("r", "a")])
    await store.add(an_event("evt_free"), [])
    for claim in await claim_all(store):
        await store.finish(claim.delivery.id, claim.token, DEAD)
    await store.close()
    url = f"sqlite:///{tmp_path / 'x.db'}"
    said = run(url, "tail", "--since", "1000d", "--for", "0s", "--json")
    assert said.code == 0, said.err
    assert [(each["id"], each["outcome"]) for each in map(json.loads, said.out.splitlines())] == [
        ("evt_bad", "dead"), ("evt_free", None),
    ]  # fmt: skip
    only_dead = run(url, "tail", "--since", "1000d", "--for", "0s", "--outcome", "dead").out.splitlines()
    assert [line.split()[1:] for line in only_dead] == [["evt_bad", "acme", "invoice.paid", "dead"]]
    connections = {each["connection"]: each for each in json.loads(run(url, "top", "--json").out)}
    assert connections["none"]["dead"] == 1  # of a route that gateway.yaml does not have
    assert run(url, "top", "--once").out.splitlines()[0].endswith("0 running  0 waiting  1 dead")
    assert run(url, "tail", "--outcome", "lost").code == 2
    assert said.err == ""
    monkeypatch.setattr("gateway.cli.commands.tail.LOOKED_AT", 1)
    assert run(url, "tail", "--since", "1000d", "--for", "0s").err.startswith("the newest 1; there may be more")
