"""Any bytes at all, by hypothesis; and a short run of the coverage-guided fuzzer. Longer: `make fuzz`."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.attacks.fuzz_targets import SEEDS, TARGETS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_keep_the_promise_of_their_reader(name: str, data: st.DataObject) -> None:
    """Seeds with stretches replaced, and plain bytes."""
    seed = data.draw(st.sampled_from(SEEDS[name]))
    start = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(start, len(seed)))
    TARGETS[name](data.draw(st.one_of(st.binary(max_size=200), st.just(b""))))
    TARGETS[name](seed[:start] + data.draw(st.binary(max_size=20)) + seed[end:])
    TARGETS[name](seed[:start] + seed[start:end] * data.draw(st.integers(0, 20)) + seed[end:])


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this Python")
@pytest.mark.parametrize("name", TARGETS)
def test_the_fuzzer_finds_nothing_in_a_few_seconds(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.attacks.fuzz", name, "4"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
