"""kill -9 at random and at named points, and the power cut at random moments, under load: the books agree."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sqlite3
from pathlib import Path
from random import Random

import pytest

from tests.acceptance.dying import POINTS
from tests.acceptance.harness import GatewayProcess, free_port
from tests.acceptance.ledger import TORTURE, Ledger
from tests.waiting import until

pytestmark = pytest.mark.slow

EVENTS = 120 * TORTURE
DEATHS = 2 * TORTURE
SNAPSHOTS = 6 * TORTURE
MOST_UNRECORDED = 32  # of actions that are done: those under way, and those whose group commit is


def gateway_for(folder: Path, ledger: Ledger, store: str = "sqlite:///data/gateway.db") -> GatewayProcess:
    port = free_port()
    return GatewayProcess(folder, ledger.config(port, store), port)


async def die_at(gateway: GatewayProcess, ledger: Ledger, point: str) -> None:
    """Has a gateway die at a point again and again under load, then starts one that lives, and compares the books."""
    rng = Random(5)
    sending = asyncio.create_task(ledger.send(gateway, EVENTS))
    try:
        for _ in range(DEATHS):
            gateway.program = ["tests.acceptance.dying", point, str(rng.randrange(1, 10))]
            gateway.launch()
            await until(lambda: gateway.has_ended)
        gateway.program = ["gateway"]
        await gateway.start()
        await sending
        await ledger.settle(120 * TORTURE)
        gateway.terminate()
    finally:
        sending.cancel()
        gateway.stop()
    print(f"{point}: {DEATHS} deaths, {ledger.repeated} of {len(ledger.times)} forwards repeated")
    assert ledger.repeated <= MOST_UNRECORDED * DEATHS


@pytest.mark.timeout(600 * TORTURE)
@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_a_named_point_it_loses_nothing_and_does_nothing_unowed(
    tmp_path: Path, ledger: Ledger, point: str
) -> None:
    await die_at(gateway_for(tmp_path, ledger), ledger, point)


@pytest.mark.timeout(600 * TORTURE)
@pytest.mark.parametrize("point", ["after_commit", "after_action"])
async def test_killed_at_a_named_point_on_postgresql_it_loses_nothing_and_does_nothing_unowed(
    tmp_path: Path, ledger: Ledger, point: str, inbox_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_INTERNAL_LEASE_SECONDS", "2")
    await die_at(gateway_for(tmp_path, ledger, inbox_url), ledger, point)


@pytest.mark.timeout(600 * TORTURE)
async def test_killed_at_random_moments_it_loses_nothing_and_does_nothing_unowed(
    tmp_path: Path, ledger: Ledger
) -> None:
    gateway = gateway_for(tmp_path, ledger)
    await gateway.start()
    sending = asyncio.create_task(ledger.send(gateway, 4 * EVENTS))
    rng = Random(7)
    try:
        for _ in range(3 * TORTURE):
            await asyncio.sleep(rng.random() * 0.3)  # a random moment is what is wanted
            gateway.kill()
            await gateway.start()
        await sending
        await ledger.settle(120 * TORTURE)
    finally:
        sending.cancel()
        gateway.stop()
    print(f"{len(ledger.accepted)} events, {ledger.repeated} forwards repeated")


def snapshot(gateway: GatewayProcess, to: Path) -> None:
    """What a snapshot of the file system would hold: the process stands still while its files are copied."""
    gateway.signal(signal.SIGSTOP)
    try:
        stat = Path(f"/proc/{gateway.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            pass
        to.mkdir()
        for name in ("gateway.db", "gateway.db-wal"):  # the -shm is no durable thing
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(gateway.folder / "data" / name, to / name)
    finally:
        gateway.signal(signal.SIGCONT)


def tear(folder: Path, rng: Random) -> None:
    """What a power cut leaves behind the last commit: a half of a page, or nonsense."""
    with (folder / "gateway.db-wal").open("ab") as log:
        log.write(rng.randbytes(rng.randrange(1, 9000)))


@pytest.mark.timeout(600 * TORTURE)
async def test_a_snapshot_at_any_moment_opens_clean_with_all_that_was_answered_before(
    tmp_path: Path, ledger: Ledger
) -> None:
    gateway = gateway_for(tmp_path, ledger)
    await gateway.start()
    sending = asyncio.create_task(ledger.send(gateway, 8 * EVENTS))
    rng = Random(11)
    taken: list[tuple[Path, set[str]]] = []

    async def until_accepted(count: int) -> None:
        await until(lambda: sending.done() or len(ledger.accepted) > count)

    try:
        for number in range(SNAPSHOTS):
            await until_accepted((number + 1) * 7 * EVENTS // SNAPSHOTS)
            await asyncio.sleep(rng.random() * 0.02)
            answered = set(ledger.accepted)
            folder = tmp_path / f"snapshot{number}"
            snapshot(gateway, folder)
            taken.append((folder, answered))
        await sending
        await ledger.settle(120 * TORTURE)
    finally:
        sending.cancel()
        gateway.stop()
    for number, (folder, answered) in enumerate(taken):
        if number % 2:
            tear(folder, rng)
        with contextlib.closing(sqlite3.connect(folder / "gateway.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            found = database.execute(
                "SELECT e.id FROM events e JOIN deliveries d ON d.event_seq = e.seq WHERE d.route = 'fulfil'"
            )
            assert answered <= {id for (id,) in found}
    # A gateway that is started on the last of them does what it owes: what had not arrived when it was taken.
    folder, answered = taken[-1]
    shutil.copytree(folder, tmp_path / "restored" / "data")
    before = set(ledger.arrived)
    restored = gateway_for(tmp_path / "restored", ledger)
    await restored.start()
    await restored.until_finished()
    assert restored.rows("SELECT DISTINCT state FROM deliveries") == [("succeeded",)]
    restored.terminate()
    assert answered <= before
    ledger.check()  # the same deliveries, by their ids, and no others
