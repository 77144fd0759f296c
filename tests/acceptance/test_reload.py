"""A running gateway takes changed configurations under load, half of them broken: no event is refused or lost."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.testing import make_event
from tests.acceptance.harness import FORWARD_SECRET, SECRET, GatewayProcess, Sink, free_port, post
from tests.configs import gateway_yaml, http
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("commands_in_process")

SECONDS = float(os.environ.get("GATEWAY_RELOAD_SECONDS", "15"))
EVENTS_A_SECOND = 200
UNWATCHED = "reload: {watch: false}\n"
NEW_SECRET = "whsec_bmV3IHNlY3JldCBvZiBhY21l"


def config(port: int, admin: int, sink: str, *, note: str = "first", secrets: str = SECRET, more: str = "") -> str:
    route = f"""\
  fulfil:
    events: [checkout.session.*]
    actions:
      ship:
        uses: http_forward
        with: {{connection: warehouse, headers: {{X-Note: "{note}"}}}}
{more}"""
    return gateway_yaml(
        port=port,
        admin=admin,
        log="level: info, format: json",
        secrets=secrets,
        connections={"warehouse": http(sink)},
        routes=route,
    )


class Served:
    """A gateway process whose configuration is written anew, and what its log says."""

    def __init__(self, folder: Path, sink: str, more: str = "") -> None:
        self._sink = sink
        self._ports = free_port(), free_port()
        self.gateway = GatewayProcess(folder, self.text(more=more), self._ports[0])

    def text(self, **options: Any) -> str:
        """A configuration for the same listeners."""
        return config(*self._ports, self._sink, **options)

    def write(self, text: str) -> None:
        """Swaps the file by renaming, as editors do."""
        fresh = self.gateway.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.gateway.config)

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of that name."""
        lines = (json.loads(line) for line in self.gateway.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    async def until(self, condition: Callable[[], object]) -> None:
        """Until something is so."""
        await until(condition, seen=lambda: self.gateway.log.read_text()[-4000:])


@pytest.fixture
async def served(tmp_path: Path, sink: Sink) -> AsyncIterator[Served]:
    made = Served(tmp_path, sink.url)
    await made.gateway.start()
    yield made
    made.gateway.terminate()


async def steadily(seconds: float, send: Callable[[int], Awaitable[None]]) -> float:
    """Sends EVENTS_A_SECOND, whatever the answers take. Returns the seconds that it took."""
    start = time.monotonic()
    tasks: list[asyncio.Task[None]] = []
    for i in range(int(seconds * EVENTS_A_SECOND)):
        await asyncio.sleep(start + i / EVENTS_A_SECOND - time.monotonic())
        tasks.append(asyncio.ensure_future(send(i)))
    await asyncio.gather(*tasks)
    return time.monotonic() - start


async def test_under_load_a_reload_each_second_half_of_them_broken_loses_and_doubles_nothing(
    served: Served, sink: Sink
) -> None:
    answers: dict[str, tuple[int, float]] = {}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:

        async def send(i: int) -> None:
            event, start = make_event("checkout.session.completed"), time.monotonic()
            status, answer = await post(session, f"{served.gateway.url}/webhooks/acme", event)
            assert answer == {"received": True}
            answers[event["id"]] = status, time.monotonic() - start

        sending = asyncio.create_task(steadily(SECONDS, send))
        rounds = 0

        def were_taken(rounds: int) -> bool:
            log = served.gateway.log.read_text()
            return log.count('"config.loaded"') + log.count('"config.refused"') >= rounds

        while not sending.done():
            rounds += 1
            broken = rounds % 2 == 0
            served.write("routes: [broken" if broken else served.text(note=f"round {rounds}"))
            await asyncio.gather(asyncio.wait((sending,), timeout=1.0), until(partial(were_taken, rounds), every=0.1))
        took = sending.result()
    await served.gateway.until_finished()
    slowest = sorted(seconds for _, seconds in answers.values())
    loaded, refused = len(served.said("config.loaded")), len(served.said("config.refused"))
    print(f"{len(answers)} events in {took:.1f} s, {loaded} reloads, {refused} refused;", end=" ")
    print(
        f"answers: p50 {slowest[len(slowest) // 2] * 1000:.1f} ms, p99 {slowest[-len(slowest) // 100] * 1000:.1f} ms,"
    )
    assert {status for status, _ in answers.values()} == {200}
    assert len(answers) == int(SECONDS * EVENTS_A_SECOND)
    assert set(sink.events.values()) == set(answers)
    assert set(sink.ids.values()) == {1}
    assert loaded >= (rounds + 1) // 2
    assert refused >= rounds // 2
    assert "Traceback" not in served.gateway.log.read_text()


async def test_a_secret_is_rolled_by_reload_and_no_event_is_refused(served: Served, sink: Sink) -> None:
    folder = served.gateway.folder
    (folder / "secrets").mkdir()
    phases = [[SECRET], [SECRET, NEW_SECRET], [NEW_SECRET]]  # what Stripe may sign with, as the secret is rolled
    statuses: list[int] = []
    signing = [SECRET]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:

        async def send(i: int) -> None:
            secret = signing[i % len(signing)]
            url = f"{served.gateway.url}/webhooks/acme"
            statuses.append((await post(session, url, make_event("checkout.session.completed"), secret))[0])

        for phase, secrets in enumerate(phases):
            if phase:
                # first the old secret is one of two, then the new one is alone: each by writing two small files
                (folder / "secrets/new").write_text(NEW_SECRET)
                (folder / "secrets/old").write_text(SECRET if SECRET in secrets else NEW_SECRET)
                served.write(served.text(secrets='"${file:secrets/new}", "${file:secrets/old}"'))
                done = await asyncio.to_thread(served.gateway.run, "reload")
                assert done.returncode == 0, done.stderr
            signing[:] = secrets
            await steadily(2, send)
            if phase == 1:
                signing[:] = [NEW_SECRET]  # Stripe's 24 hours are over: now, and not before, the old one may go
    await served.gateway.until_finished()
    assert statuses == [200] * (3 * 2 * EVENTS_A_SECOND)
    assert len(sink.ids) == len(statuses)
    assert (await served.gateway.post(make_event()))[0] == 401


async def test_diff_says_what_a_reload_would_change_and_reload_does_it(tmp_path: Path, sink: Sink) -> None:
    served = Served(tmp_path, sink.url, UNWATCHED)
    gateway = served.gateway
    await gateway.start()
    before = gateway.json("diff")["version"]
    assert gateway.run("diff", "--exit-code").stdout == f"nothing would change: {before} is in force\n"
    sink.is_down = True  # so that a delivery waits
    async with aiohttp.ClientSession() as session:
        await post(session, f"{gateway.url}/webhooks/acme", make_event("checkout.session.completed"))
    await served.until(lambda: gateway.json("deliveries", "list")[0]["attempts"] == 1)
    route = (
        "  more: {events: [charge.refunded], actions: {ship: {uses: http_forward, with: {connection: warehouse}}}}\n"
    )
    text = served.text(more=route + UNWATCHED).replace("  fulfil:\n", "  fulfill:\n")
    served.write(text.replace("level: info", "level: debug").replace(FORWARD_SECRET, "whsec_c29tZXRoaW5nIGVsc2U="))
    after = gateway.json("diff")["version"]
    changes = """\
  ~ setting log.level changed (needs a restart)
  ~ connection warehouse changed: signing_secret
  + route fulfill added
  + route more added
  - route fulfil removed
  + action fulfill.ship added
  + action more.ship added
  - action fulfil.ship removed
  ! 1 waiting of action fulfil.ship for account acme: dead letters after 10 minutes, unless it comes back
"""
    done = gateway.run("diff", "--exit-code")
    assert (done.returncode, done.stdout) == (1, f"{before} -> {after}\n{changes}")
    assert gateway.run("diff").returncode == 0
    done = gateway.run("reload")
    assert (done.returncode, done.stdout) == (0, f"loaded: {after} (was {before})\n{changes}")
    assert gateway.run("reload").stdout == f"unchanged: {after}\n  still to be taken by a restart: log.level\n"
    (orphans,) = served.said("config.orphans")
    assert (orphans["route"], orphans["action"], orphans["waiting"]) == ("fulfil", "ship", 1)
    gateway.terminate()


async def test_a_reload_that_is_refused_says_why_and_exits_1(served: Served) -> None:
    gateway = served.gateway
    served.write(served.text().replace("uses: http_forward", "uses: http_froward"))
    done = gateway.run("reload")
    assert done.returncode == 1
    version = served.said("gateway.ready")[0]["config"]
    assert done.stderr == (
        "error[unknown-action]: unknown action 'http_froward'\n"
        f"  --> {gateway.config}:14:15 (routes.fulfil.actions.ship.uses)\n"
        "   |\n"
        "14 |         uses: http_froward\n"
        "   |               ^^^^^^^^^^^^\n"
        "   = did you mean http_forward?\n\n"
        f"1 error in {gateway.config}\n\n"
        f"The gateway runs on with what it has ({version}).\n"
    )
    (problem,) = served.said("config.problem")
    assert (problem["code"], problem["level"]) == ("unknown-action", "error")
    refused = gateway.run("diff", "--json")
    answer = json.loads(refused.stdout)
    assert (refused.returncode, answer["outcome"]) == (1, "refused")
    assert [(one["code"], one["line"], one["severity"]) for one in answer["problems"]] == [
        ("unknown-action", 14, "error")
    ]


async def test_sighup_reloads(tmp_path: Path, sink: Sink) -> None:
    served = Served(tmp_path, sink.url, UNWATCHED)
    await served.gateway.start()
    served.write(served.text(note="second", more=UNWATCHED))
    served.gateway.hang_up()
    await served.until(lambda: served.said("config.loaded"))
    assert served.said("config.loaded")[0]["changes"] == ["action fulfil.ship changed: with.headers.X-Note"]
    assert served.said("config.loaded")[0]["asked_by"] == "SIGHUP"
    assert served.gateway.terminate() == 0


def test_without_a_gateway_reload_and_diff_say_so(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, config(free_port(), free_port(), "http://127.0.0.1:9/"), 1)
    for command in ("reload", "diff"):
        done = gateway.run(command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"no gateway answers at {tmp_path}/data/gateway.sock (No such file or directory): is it running, on this"
            " machine, with the same reload.socket?\n"
        )
    assert gateway.run("reload", "now").returncode == 2
