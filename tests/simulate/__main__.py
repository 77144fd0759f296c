"""python -m tests.simulate --seeds 10000 [--first N]: scenarios, one a seed; --seed N: that one, told step by step."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulate.known import is_known
from tests.simulate.place import Place, fix_hashes, place
from tests.simulate.scenario import run_seed


def main() -> int:
    """The command."""
    options = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    options.add_argument("--seeds", type=int, default=1000)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--seed", type=int, help="only this one, with its story")
    options.add_argument("--all", action="store_true", help="go on after a finding")
    asked = options.parse_args()
    fix_hashes()
    with place() as at:
        if asked.seed is not None:
            result = run_seed(asked.seed, *at)
            print(*result.story, sep="\n")
            print(f"seed {asked.seed}: {len(result.findings)} findings, {result.callbacks} callbacks")
            return min(1, len(result.findings))
        return _many(asked.first, asked.seeds, asked.all, at)


def _many(first: int, seeds: int, is_all: bool, at: Place) -> int:
    start = told_at = time.monotonic()
    bad = 0
    for number in range(first, first + seeds):
        result = run_seed(number, *at)
        if result.findings and not is_known(result.findings):
            bad += 1
            print(f"seed {number}:", *dict.fromkeys(result.findings), sep="\n  ", flush=True)
            if not is_all:
                return 1
        if time.monotonic() - told_at > 10:
            told_at = time.monotonic()
            done = number + 1 - first
            print(f"{done} seeds, {done / (told_at - start) * 60:.0f} a minute, {bad} with findings", flush=True)
    print(f"{seeds} seeds from {first} on: {bad} with findings, {time.monotonic() - start:.0f} s")
    return min(1, bad)


if __name__ == "__main__":
    sys.exit(main())
