"""The soak of bench/soak.py for half a minute: its books agree. `make soak`: an hour, and growth too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EVENTS_A_SECOND = 100  # of events: beside other tests


def test_half_of_saturation_with_reloads_faults_and_purges_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.soak", "--seconds", "30", "--rate", str(EVENTS_A_SECOND), "--pace", "8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    books = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert int(books["answered 200"].replace(",", "")) > 20 * EVENTS_A_SECOND
    for name in ("missing", "not owed, and arrived", "arrived as two deliveries", "dead letters"):
        assert books[name] == "0", name
    for name in ("reloads", "broken configurations", "sink in trouble", "lock held", "bad signatures"):
        assert books[name] != "0", name
    assert int(books["events that were purged"].replace(",", "")) > 0
