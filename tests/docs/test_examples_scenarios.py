"""The shipped examples and starters hold for every scenario of the types that their routes take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.dev.environment import DevEnvironment
from gateway.cli.init_files import Choices, Secrets, Sells, starter
from gateway.config.load import Config, load
from gateway.core.envelope import parse_event
from gateway.core.internal_events import is_own
from gateway.core.model import Event
from gateway.simulation.engine import Assumed, Simulator
from gateway.stripe.event_types import is_thin, matches
from gateway.testing import make_event, scenarios
from tests.examples import EXAMPLES, ROOT, name_of

OUTPUTS: dict[str, dict[str, Any]] = {  # what actions return, where a later one of the examples reads it
    "ship": {"status": 200, "body": {"parcel": "P-77"}},
    "tell": {"channel": "C1", "ts": "1.1"},
}
CONNECTED: tuple[dict[str, str], ...] = ({}, {"account": "acct_1Sb9KxQ4mTz7Yp2L"})


def events_of(config: Config) -> Iterator[tuple[str, Event]]:
    """Every type that a route takes, plainly and in each of its scenarios, of the account and of a connected one."""
    for account in config.accounts.values():
        types = {name for route in config.routes for pattern in route.events for name in matches(pattern)}
        for event_type in sorted(name for name in types if not is_own(name) and not is_thin(name)):
            for scenario in (None, *scenarios(event_type)):
                for connected in CONNECTED if any(route.connected_accounts for route in config.routes) else ({},):
                    event: dict[str, Any] = make_event(
                        event_type, scenario=scenario, livemode=account.livemode is True, **connected
                    )
                    body = json.dumps(event).encode()
                    where = f"{event_type} {scenario or ''}{' of a connected account' if connected else ''}"
                    yield where, parse_event(body, account.name, datetime.now(UTC))


async def failures(config: Config) -> list[str]:
    """The deliveries that would not end well."""
    assumed = Assumed(outputs=OUTPUTS)
    failed = []
    for where, event in events_of(config):
        for delivery in (await Simulator(config).simulate(event, assumed)).deliveries:
            is_held = (delivery.reason or "").startswith("waits for a yes by ")
            if delivery.state.value not in ("succeeded", "skipped") and not is_held:
                failed.append(f"{where}: {delivery.route}.{delivery.action.name} {delivery.state}: {delivery.reason}")
    return failed


@pytest.mark.parametrize("path", [ROOT / "gateway.yaml", *EXAMPLES], ids=name_of)
async def test_an_examples_routes_succeed_in_every_scenario(path: Path) -> None:
    assert await failures(load(path, DevEnvironment({}))) == []


@pytest.mark.parametrize("sells", ["orders", "subscriptions", "both"])
async def test_a_starters_routes_succeed_in_every_scenario(sells: Sells, tmp_path: Path) -> None:
    choices = Choices(sells=sells, mail_from="Shop <shop@shop.example>", forward="https://s.example/", slack=True)
    for name, text in starter(choices, Secrets("whsec_1", "whsec_2", "https://hooks.slack.com/1")).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert await failures(load(tmp_path / "gateway.yaml", DevEnvironment({}))) == []
