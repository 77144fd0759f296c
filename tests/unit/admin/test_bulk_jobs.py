"""Changes to many: in steps, paused and gone on with, stopped, and what is said of refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import structlog

from gateway.admin.bulk_jobs import Job, Jobs
from gateway.core.errors import StoreUnavailable
from gateway.core.model import DONE, ChangeResult, Refusal
from tests.waiting import until

PARTS = [["a", "b"], ["c", "d"], ["e"]]


class Changes:
    """Steps that end when the test lets them."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.allowed = asyncio.Semaphore(0)

    async def parts(self) -> AsyncIterator[Sequence[str]]:
        for part in PARTS:
            yield part

    async def step(self, ids: Sequence[str]) -> Sequence[ChangeResult]:
        await self.allowed.acquire()
        self.changed += ids
        return [Refusal("it is running now") if name == "d" else DONE for name in ids]


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
async def jobs() -> AsyncIterator[Jobs]:
    made = Jobs(structlog.get_logger())
    yield made
    await made.close()


def begin(jobs: Jobs, changes: Changes) -> Job:
    return jobs.start("retry", "state=dead", 5, changes.parts(), changes.step, [])


async def idle() -> None:
    """Everything that can go on has gone on."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_paused_job_changes_nothing_until_it_goes_on(jobs: Jobs, changes: Changes) -> None:
    job = begin(jobs, changes)
    changes.allowed.release()
    await until(lambda: job.done == 2)
    jobs.pause(job)
    changes.allowed.release()  # the step that has begun ends
    await until(lambda: job.done == 4)
    changes.allowed.release()
    await idle()
    assert (job.state, job.is_over, changes.changed) == ("paused", False, ["a", "b", "c", "d"])
    jobs.resume(job)
    assert job.state == "running"
    await until(lambda: job.is_over)
    assert (job.state, job.done, changes.changed) == ("finished", 5, ["a", "b", "c", "d", "e"])
    assert (job.refused, job.first_refusal) == (1, "it is running now")


async def test_a_paused_job_can_be_stopped_where_it_is(jobs: Jobs, changes: Changes) -> None:
    job = begin(jobs, changes)
    changes.allowed.release()
    await until(lambda: job.done == 2)
    jobs.pause(job)
    await jobs.stop(job)
    assert (job.state, job.is_over, changes.changed) == ("stopped", True, ["a", "b"])
    jobs.resume(job)
    jobs.pause(job)
    assert job.state == "stopped"


async def test_a_finished_job_cannot_be_paused(jobs: Jobs, changes: Changes) -> None:
    job = begin(jobs, changes)
    for _ in PARTS:
        changes.allowed.release()
    await until(lambda: job.is_over)
    jobs.pause(job)
    assert job.state == "finished"
    assert jobs.get(job.id) is job


async def test_a_job_whose_store_fails_says_why(jobs: Jobs, changes: Changes) -> None:
    async def step(ids: Sequence[str]) -> Sequence[ChangeResult]:
        raise StoreUnavailable("the disk is full")

    job = jobs.start("cancel", "route=x", 5, changes.parts(), step, [])
    await until(lambda: job.is_over)
    assert (job.state, job.done, job.first_refusal) == ("failed", 0, "the disk is full")
