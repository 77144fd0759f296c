"""python -m tests.model --steps 1000000 [--seed N] [--sqlite] [--all]: sequences of 50 steps, one a seed.

Prints the story of the first sequence on which a store and the model disagree, shortened, and ends with 1; with --all
it goes on and tells of each kind once. What is known (tests/model/known.py) ends a sequence and is no finding.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import sys
import time

from gateway.store.postgres.store import PostgresStore
from tests.model.driver import SEQUENCE, take
from tests.model.known import is_known
from tests.model.places import Places, places
from tests.postgres_server import OwnServer

TOLD_SECONDS = 10.0  # between two lines of progress


def run(opened: Places, steps: int, seed: int, is_all: bool) -> int:
    """How many kinds of disagreement there were."""
    start = told_at = time.monotonic()
    kinds: set[str] = set()
    for number in range(seed, seed + -(-steps // SEQUENCE)):
        finding = take(opened, number, is_known=is_known)
        if finding is not None:
            kind = re.sub(r"[0-9]+", "N", finding.complaint)[:60]
            if kind not in kinds:
                print(f"seed {number}, {finding.label}:", *finding.story, "", sep="\n", flush=True)
            kinds.add(kind)
            if not is_all:
                return 1
        if time.monotonic() - told_at > TOLD_SECONDS:
            told_at = time.monotonic()
            done = (number + 1 - seed) * SEQUENCE
            print(f"{done} steps, {done / (told_at - start):.0f} a second, {len(kinds)} findings", flush=True)
    print(f"{steps} steps from seed {seed} on: {len(kinds)} findings, {time.monotonic() - start:.0f} s")
    return len(kinds)


def main() -> int:
    """The command."""
    options = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    options.add_argument("--steps", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=1, help="of the first sequence; the next ones count on")
    options.add_argument("--sqlite", action="store_true", help="leave PostgreSQL out")
    options.add_argument("--all", action="store_true", help="go on after a finding")
    asked = options.parse_args()
    with contextlib.ExitStack() as stack:
        url = None
        if not asked.sqlite:
            url = stack.enter_context(OwnServer()).url
            asyncio.run(PostgresStore(url).migrate())
        return min(1, run(stack.enter_context(places(url)), asked.steps, asked.seed, asked.all))


if __name__ == "__main__":
    sys.exit(main())
