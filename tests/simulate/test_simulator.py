"""Whole gateways in simulated time: whatever happens to them, the books agree; and planted faults are found."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulate.faults import first_seed
from tests.simulate.known import is_known
from tests.simulate.place import Place, place
from tests.simulate.scenario import run_seed

ROOT = Path(__file__).parents[2]
SEEDS = 100
MOST_SECONDS = 60.0


@pytest.fixture(scope="module")
def at() -> Iterator[Place]:
    with place() as somewhere:
        yield somewhere


@pytest.mark.slow
def test_the_books_agree_whatever_happens(at: Place) -> None:
    end = time.monotonic() + MOST_SECONDS
    for seed in range(SEEDS):
        result = run_seed(seed, *at)
        if result.findings and not is_known(result.findings):
            pytest.fail(f"seed {seed}: {result.findings}\n" + "\n".join(result.story))
        if time.monotonic() > end:
            break


@pytest.mark.parametrize("name", ["needs ignored", "after and at ignored", "still_if not asked", "until ignored"])
def test_a_planted_fault_is_found(name: str, at: Place) -> None:
    assert first_seed(name, 60, at) is not None


def test_a_seed_tells_the_same_story_each_time() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.simulate", "--seed", "7"]
    first, second = (subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300).stdout for _ in range(2))
    assert first == second
    assert len(first.splitlines()) > 20
