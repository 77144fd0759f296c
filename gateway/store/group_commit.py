"""Group commit over a connection: everything that was asked while one batch was under way is the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from gateway.core.errors import StoreError, StoreUnavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class GroupCommit(Generic[Item, Answer]):
    """Runs batches one after another. Used on the event loop's thread."""

    def __init__(self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], most: int) -> None:
        self._run = run  # commits a batch; an answer for each item
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def put(self, item: Item) -> asyncio.Future[Answer]:
        """The answer to this item, once its batch is committed."""
        if self._stopping:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, future))
        if self._task is None:  # it begins at the end of this turn of the loop: all that is read in it shares the batch
            self._task = loop.create_task(self._work(), name="gateway-store-batches")
        return future

    async def stop(self) -> None:
        """Finishes what was asked."""
        self._stopping = True
        if self._task is not None:
            await self._task

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._commit(batch)
        finally:
            self._task = None
            for _, future in self._waiting:  # only a cancelled program leaves some
                if not future.done():
                    future.cancel()

    async def _commit(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._run([item for item, _ in batch])
        except StoreUnavailable as error:
            for _, future in batch:
                _fail(future, StoreUnavailable(str(error)))
        except StoreError as error:
            if len(batch) == 1:
                _fail(batch[0][1], error)
            else:  # one of them cannot be kept: the others do not suffer for it
                for entry in batch:
                    await self._commit([entry])
        except Exception as error:  # a fault of ours: nobody may wait for ever because of it
            for _, future in batch:
                _fail(future, StoreError(f"{type(error).__name__}: {error}"))
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)


def _fail(future: asyncio.Future[Answer], error: StoreError) -> None:
    if not future.done():
        future.set_exception(error)
