"""gateway listen: a test account's events come to a gateway that Stripe cannot reach, each once, the oldest first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.cli.commands import listen
from gateway.testing import make_event
from tests.cli import CommandLine, Ran
from tests.configs import gateway_yaml
from tests.http_service import Serve
from tests.stripe_standin import LIVE_KEY, TEST_KEY, Fault, StripeStandin

Looks = Callable[[int], None]


class Sink:
    """Where the gateway would be: what was posted there, and what it answers."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.signatures: list[str] = []

    async def take(self, request: web.Request) -> web.Response:
        """Takes an event."""
        self.signatures.append(request.headers["Stripe-Signature"])
        self.events.append((await request.json())["id"])
        return web.json_response({"outcome": "routed"})


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capsys)


async def listened(
    command: CommandLine, standin_url: str, target: str, then: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch,
    *words: str,
) -> Ran:  # fmt: skip
    """Runs the command beside this loop. After each look `then` is called with its number, until it raises."""
    Path("gateway.yaml").write_text(gateway_yaml(stripe=f'api_base: "{standin_url}"'))
    waits = 0

    async def wait(seconds: float) -> None:
        nonlocal waits
        if seconds in (listen.LOOK_SECONDS, listen.WAIT_SECONDS):
            waits += 1
            then(waits)

    monkeypatch.setattr("gateway.cli.commands.listen.asyncio.sleep", wait)
    return await asyncio.to_thread(command, "listen", "--api-key", TEST_KEY, "--url", target, *words)


def an_event(event_id: str, type: str = "invoice.paid", age_seconds: int = 0) -> dict[str, Any]:
    return make_event(type) | {"id": event_id, "created": int(time.time()) - age_seconds}


async def test_new_events_come_once_and_in_order_and_outages_are_waited_for(
    command: CommandLine, standin: StripeStandin, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Sink()
    url = await serve(sink.take)
    standin.add_event(an_event("evt_old", age_seconds=3600))
    standin.add_event(an_event("evt_recent", age_seconds=60))

    def then(look: int) -> None:
        if look == 1:
            standin.add_event(an_event("evt_1"))
            standin.add_event(an_event("evt_2", "customer.created"))
        elif look == 2:
            standin.faults.extend([Fault(503)] * 3)
        elif look == 3:
            standin.add_event(an_event("evt_late", age_seconds=5))  # Stripe lists it later than those after it
        elif look > 5:
            raise KeyboardInterrupt

    ran = await listened(command, standin.url, f"{url}/webhooks/acme", then, monkeypatch, "--since", "5m")
    assert sink.events == ["evt_recent", "evt_1", "evt_2", "evt_late"]
    assert all(signature.startswith("t=") for signature in sink.signatures)
    assert ran.code == 130
    assert "evt_1 invoice.paid -> 200" in ran.out
    assert "asked again in 5 s" in ran.err


async def test_types_narrow_and_a_gateway_that_is_not_there_is_waited_for(
    command: CommandLine, standin: StripeStandin, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.add_event(an_event("evt_1"))
    standin.add_event(an_event("evt_2", "customer.created"))

    def then(look: int) -> None:
        if look > 2:
            raise KeyboardInterrupt

    words = ("--since", "5m", "--type", "customer.*")
    ran = await listened(command, standin.url, "http://127.0.0.1:9/webhooks/acme", then, monkeypatch, *words)
    assert ran.err.count("no gateway answers at http://127.0.0.1:9/webhooks/acme") == 3
    assert "evt_1" not in ran.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--api-key", LIVE_KEY], "this is a live key: listen is for test accounts; live events come to an endpoint\n"),
        ([], "say --api-key rk_test_..., or set STRIPE_API_KEY: of a test account, and it may read events\n"),
        (["--api-key", TEST_KEY, "--account", "other"], "there is no account other; known: acme\n"),
        (["--api-key", TEST_KEY, "--since", "soon"], "--since 'soon': write 30s, 5m or 2h\n"),
    ],
)
def test_what_cannot_be_listened_to_is_said(words: list[str], told: str, command: CommandLine) -> None:
    Path("gateway.yaml").write_text(gateway_yaml())
    ran = command("listen", *words)
    assert (ran.code, ran.err) == (2, told)
