"""Both stores do what the model does, whatever is asked of them in whatever order."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.model.driver import Finding, take
from tests.model.known import is_known
from tests.model.places import places

SEQUENCES = 80  # of 50 steps, on each store
MOST_SECONDS = 60.0


@pytest.mark.slow
def test_the_stores_agree_with_the_model_after_every_step(inbox_url: str) -> None:
    end = time.monotonic() + MOST_SECONDS
    with places(inbox_url) as opened:
        for seed in range(SEQUENCES):
            finding = take(opened, seed, is_known=is_known)
            if finding is not None:
                pytest.fail(f"seed {seed}, {finding.label}:\n" + "\n".join(finding.story))
            if time.monotonic() > end:
                break


def test_a_planted_fault_is_found_and_told_in_few_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a SQLite store that forgets to let the next one go when a person cancels."""
    monkeypatch.setattr("gateway.store.sqlite.queue.pass_turn", lambda connection, **keys: None)

    def find() -> tuple[int, Finding]:
        with places(None) as opened:
            return next(
                (seed, finding)
                for seed in range(1000)
                if (finding := take(opened, seed, is_known=lambda complaint, steps: "turn" not in complaint))
            )

    seed, finding = find()
    assert len(finding.story) <= 8
    again, same = find()
    assert (again, same.story) == (seed, finding.story)
