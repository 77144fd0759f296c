"""What the actions on a database share: the engine of a connection, and what its errors mean for a delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from gateway.plugin import Action, Context, DatabaseConnection, Reject, Retry, Settings, Unreached

if TYPE_CHECKING:  # SQLAlchemy takes long to import: `gateway check` does without
    from sqlalchemy.ext.asyncio import AsyncEngine

S = TypeVar("S", bound=Settings)
T = TypeVar("T")

PARENT_ATTEMPTS = 4  # that a row may wait for the one its foreign key leads to; 7 minutes by the default `retry`
_READ_ONLY_SECONDS = 1.0  # between two tries within an attempt, where the database takes no writes now
_READ_ONLY_SHARE = 0.8  # of the attempt's time


@dataclass(slots=True)
class Database:
    """What runs on one connection share."""

    engine: AsyncEngine
    url: str = field(repr=False)
    tables: dict[str, Any] = field(default_factory=dict)  # what db_upsert has read of them, by the name in `with`

    async def attempted(
        self,
        work: Callable[[], Awaitable[T]],
        context: Context,
        *,
        passing: str,
        refused: str,
        values: Iterable[Any] = (),
        is_reading: bool = False,
    ) -> T:
        """What `work` returns. What the database or its driver raises there becomes Retry with `passing`, or Reject
        with `refused`, before its text, which has none of the `values`.

        A database that takes no writes now (a failover) is asked again every second while the attempt lasts, by a new
        session each time; with `is_reading` that is a statement which writes though it may not. A row that came before
        the one its foreign key leads to is retried for PARENT_ATTEMPTS.
        """
        from gateway.plugin.database import failure_of

        ends_at = asyncio.get_running_loop().time() + _READ_ONLY_SHARE * context.timeout_seconds
        while True:
            try:
                return await work()
            except Reject:
                raise
            except Exception as error:
                failure = failure_of(error, self.url, values)
                if failure is None:
                    raise
                text = failure.text
                for exchange in context.exchanges[-1:]:
                    exchange.answered(text)
            if is_reading and failure.is_read_only:
                raise Reject(f"{refused}: {text}")
            is_switched_over = failure.is_read_only and failure.may_pass and self.engine.dialect.name != "sqlite"
            if is_switched_over and asyncio.get_running_loop().time() + _READ_ONLY_SECONDS < ends_at:
                await asyncio.sleep(_READ_ONLY_SECONDS)
                continue
            if failure.is_missing_parent and context.attempt <= PARENT_ATTEMPTS:
                raise Retry(f"{passing}, as what it refers to is not there yet: {text}", of_connection=False)
            if failure.may_pass:
                raise (Unreached if failure.is_away else Retry)(f"{passing}: {text}")
            raise Reject(f"{refused}: {text}")


class DatabaseAction(Action[S]):
    """An action whose runs share the engine of a connection of type database."""

    engine_options: ClassVar[dict[str, bool]] = {}  # of open_engine

    async def open(self, connection: DatabaseConnection, base_folder: str) -> Database:
        """An engine with its pool; it connects at the first run. Raises Reject where the URL cannot be used."""
        from gateway.plugin.database import open_engine

        url = connection.address()
        return Database(open_engine(url, base_folder, connection.concurrency, **self.engine_options), url)

    async def close(self, resource: Database) -> None:
        """Closes the engine's connections."""
        await resource.engine.dispose()

    async def is_reached(self, connection: DatabaseConnection, resource: Database) -> bool:
        """A session of it takes writes; where the action only reads, it answers."""
        from gateway.plugin.database import answers

        return await answers(resource.engine, is_writing=not self.engine_options.get("is_read_only", False))
