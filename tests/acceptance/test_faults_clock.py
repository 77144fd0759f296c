"""The clock jumps an hour, forward and back, under load: nothing is lost, doubled or left to wait for an hour."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.acceptance.harness import GatewayProcess, free_port
from tests.acceptance.ledger import TORTURE, Ledger
from tests.waiting import until

pytestmark = pytest.mark.slow

EVENTS = 150 * TORTURE
HOUR = 3600
LIBRARIES = [
    *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
    Path("/usr/local/lib/faketime/libfaketimeMT.so.1"),
]


class Clock:
    """The clock of one process, by libfaketime and a file that it reads at each look."""

    def __init__(self, file: Path) -> None:
        found = [library for library in LIBRARIES if library.exists()]
        if not found:
            if os.environ.get("CI") == "true":
                pytest.fail("libfaketime is not installed, and CI must test it: see .ci/run")
            pytest.skip("libfaketime is not installed: apt-get install libfaketime brings it")
        self._file = file
        self.environ = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """So many seconds off the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)


@pytest.mark.timeout(600 * TORTURE)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
async def test_a_clock_that_jumps_an_hour_and_comes_back_loses_and_doubles_nothing(
    tmp_path: Path, ledger: Ledger, store: str, jump: int, inbox_url: str
) -> None:
    clock = Clock(tmp_path / "clock")
    port = free_port()
    url = inbox_url if store == "postgresql" else "sqlite:///data/gateway.db"
    gateway = GatewayProcess(tmp_path, ledger.config(port, url), port)
    gateway.environ = clock.environ
    await gateway.start()
    try:
        await ledger.send(gateway, EVENTS // 3)
        ledger.refusing = True  # so that some wait for their next attempt, and a connection is paused, at each jump
        await ledger.send(gateway, EVENTS // 3)
        clock.set(jump)
        ledger.signed_at = int(time.time()) + jump
        await ledger.send(gateway, EVENTS // 3)
        clock.set(0)
        ledger.signed_at = None
        ledger.refusing = False
        await ledger.send(gateway, EVENTS // 3)
        await ledger.settle(120 * TORTURE)
        assert not gateway.has_ended
        assert await asyncio.to_thread(gateway.terminate) == 0
    finally:
        gateway.stop()
    assert ledger.repeated == 0
    assert "Traceback" not in gateway.log.read_text()


async def test_while_the_clock_is_wrong_stripes_events_are_refused_and_afterwards_taken(
    tmp_path: Path, ledger: Ledger
) -> None:
    clock = Clock(tmp_path / "clock")
    port = free_port()
    gateway = GatewayProcess(tmp_path, ledger.config(port), port)
    gateway.environ = clock.environ
    await gateway.start()
    try:
        clock.set(HOUR)
        ledger.passing.add(401)
        sending = asyncio.create_task(ledger.send(gateway, EVENTS // 3))
        await until(lambda: ledger.answers[401] >= 20)
        assert ledger.answers[200] == 0
        clock.set(0)
        await sending
        await ledger.settle(120 * TORTURE)
        log = gateway.log.read_text()
    finally:
        gateway.stop()
    assert '"reason": "too_old"' in log
