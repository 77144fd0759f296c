"""Changes to many deliveries or events: one at a time after another in small steps, seen, paused and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from structlog.typing import FilteringBoundLogger

from gateway.admin.problems import Refused
from gateway.core.errors import GatewayError
from gateway.core.model import ChangeResult, Refusal

STEP = 50  # changed in one transaction: intake and deliveries go on between
REMEMBERED = 50
MOST_TOUCHED = 1000  # deliveries of a job whose states can be told afterwards
MOST_AT_ONCE = 4
State = Literal["running", "paused", "finished", "stopped", "failed"]
Parts = AsyncIterator[Sequence[str]]
"""Ids of what is to be changed, some at a time."""
Step = Callable[[Sequence[str]], Awaitable[Sequence[ChangeResult]]]
"""Changes some, by id, and says what came of each."""


@dataclass(slots=True)
class Job:
    """One change to many."""

    id: str
    what: str
    target: str  # the filter, in words
    total: int
    started_at: datetime
    owner: str = ""  # the token with a scope that started it
    done: int = 0
    refused: int = 0
    first_refusal: str | None = None
    state: State = "running"
    ended_at: datetime | None = None
    touched: list[str] = field(default_factory=list)  # the deliveries revived or made, as many as are remembered
    became: dict[str, int] = field(default_factory=dict)  # by state, when it was last looked
    _go: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens."""
        return self.state in ("finished", "stopped", "failed")

    @property
    def is_waited_for(self) -> bool:
        """Whether some of its deliveries have not ended yet."""
        return any(self.became.get(state) for state in ("pending", "running"))


class Jobs:
    """Those of one gateway, since its start. Whatever runs at `close` is stopped: what is done is done."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._jobs: dict[str, Job] = {}
        self._owner = ""  # empty: sees all

    def of(self, owner: str) -> Jobs:
        """Those that one token with a scope has started."""
        own = Jobs(self._log)
        own._jobs, own._owner = self._jobs, owner
        return own

    def all(self) -> list[Job]:
        """The newest first."""
        return [job for job in reversed(self._jobs.values()) if self._owner in ("", job.owner)]

    def get(self, job_id: str) -> Job:
        """The job of that id. Raises Refused."""
        job = self._jobs.get(job_id)
        if job is None or self._owner not in ("", job.owner):
            raise Refused(404, "there is no such job since the gateway's start")
        return job

    @property
    def is_full(self) -> bool:
        """Whether no further one may start now. Those of teams, which they may leave paused, hold up no operator's."""
        counted = [job for job in self._jobs.values() if self._owner or not job.owner]
        return sum(not job.is_over for job in counted) >= MOST_AT_ONCE

    def start(self, what: str, target: str, total: int, parts: Parts, step: Step, touched: list[str]) -> Job:
        """Begins one. `touched` is what its steps have revived or made so far."""
        job = Job(secrets.token_hex(6), what, target, total, datetime.now(UTC), self._owner, touched=touched)
        job._go.set()
        job._task = asyncio.create_task(self._run(job, parts, step), name=f"gateway-job {job.id}")
        self._jobs[job.id] = job
        for old in [known for known in self._jobs.values() if known.is_over][: max(0, len(self._jobs) - REMEMBERED)]:
            del self._jobs[old.id]
        return job

    async def _run(self, job: Job, parts: Parts, step: Step) -> None:
        try:
            async for part in parts:
                await job._go.wait()
                for result in await step(part):
                    job.done += 1
                    if isinstance(result, Refusal):
                        job.refused += 1
                        job.first_refusal = job.first_refusal or result.reason
            self._end(job, "finished")
        except GatewayError as error:
            job.first_refusal = job.first_refusal or str(error)
            self._log.error("job.failed", job_id=job.id, what=job.what, error=str(error))
            self._end(job, "failed")
        except asyncio.CancelledError:
            self._end(job, "stopped")
            raise

    def _end(self, job: Job, state: State) -> None:
        job.state, job.ended_at = state, datetime.now(UTC)
        self._log.info("job.ended", job_id=job.id, what=job.what, state=state, done=job.done, refused=job.refused)

    async def change(self, job_id: str, what: str) -> Job:
        """Pauses, resumes or stops one. Raises Refused."""
        job = self.get(job_id)
        if what == "pause":
            self.pause(job)
        elif what == "resume":
            self.resume(job)
        else:
            await self.stop(job)
        return job

    def pause(self, job: Job) -> None:
        """Nothing more is changed until `resume`."""
        if job.state == "running":
            job.state = "paused"
            job._go.clear()

    def resume(self, job: Job) -> None:
        """Goes on."""
        if job.state == "paused":
            job.state = "running"
            job._go.set()

    async def stop(self, job: Job) -> None:
        """Ends one where it is."""
        if job._task is not None and not job.is_over:
            job._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await job._task

    async def close(self) -> None:
        """Stops all."""
        for job in self._jobs.values():
            await self.stop(job)
