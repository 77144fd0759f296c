"""A gateway that ends itself at a named point: `python -m tests.acceptance.dying POINT NTH --config F serve`.

The points lie in the product's own code; this program puts a subclass or a wrapper in their place.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from gateway.delivery import attempt, worker
from gateway.store.postgres.store import PostgresStore
from gateway.store.sqlite.writer import Writer

POINTS = ("before_commit", "after_commit", "after_claim", "after_action")


def dying(nth: int) -> Callable[[], None]:
    """Something to call: at the nth time the process is gone."""
    left = nth

    def pass_by() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return pass_by


def at_commit(before: Callable[[], None], after: Callable[[], None]) -> None:
    """Around the commit of arrivals: with the statements run, and with the answers not yet given."""
    commit, answer, add = Writer._commit, Writer._answer, PostgresStore.add

    def commit_arrivals(self: Writer, answers: Any, arrivals: Any, works: Any) -> Callable[[], None]:
        if arrivals:
            before()
        return commit(self, answers, arrivals, works)

    def answer_arrivals(self: Writer, answers: Any) -> None:
        if any(isinstance(result, bool) and error is None for _, result, error in answers):
            after()
        answer(self, answers)

    async def add_there(self: PostgresStore, event: Any, planned: Any) -> Any:
        before()
        added = await add(self, event, planned)
        after()
        return added

    Writer._commit = commit_arrivals  # type: ignore[method-assign]
    Writer._answer = answer_arrivals  # type: ignore[method-assign]
    PostgresStore.add = add_there  # type: ignore[assignment, method-assign]


def at_attempt(before: Callable[[], None], after: Callable[[], None]) -> None:
    """Around an attempt: with the claim committed, and with its action done but not recorded."""

    async def run(claim: Any, context: Any) -> Any:
        before()
        ended = await attempt.run_attempt(claim, context)
        after()
        return ended

    worker.run_attempt = run  # type: ignore[attr-defined]


def never() -> None:
    """Lives on."""


def main() -> None:
    """Arms the point, then is the gateway."""
    point, nth = sys.argv[1], int(sys.argv[2])
    del sys.argv[1:3]
    die = dying(nth)
    at_commit(die if point == "before_commit" else never, die if point == "after_commit" else never)
    at_attempt(die if point == "after_claim" else never, die if point == "after_action" else never)
    from gateway.cli import main as gateway

    gateway()


if __name__ == "__main__":
    main()
