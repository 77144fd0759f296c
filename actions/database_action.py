"""What the actions on a database share: the engine of a connection, and what its errors mean for a delivery."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.plugin import Action, DatabaseConnection, Reject, Retry, Settings

if TYPE_CHECKING:  # SQLAlchemy takes long to import: `gateway check` does without
    from sqlalchemy.ext.asyncio import AsyncEngine

S = TypeVar("S", bound=Settings)


@dataclass(slots=True)
class Database:
    """What runs on one connection share."""

    engine: AsyncEngine
    url: str = field(repr=False)
    tables: dict[str, Any] = field(default_factory=dict)  # what db_upsert has read of them, by the name in `with`

    @contextlib.contextmanager
    def errors_told(self, passing: str, refused: str) -> Iterator[None]:
        """What the database or its driver raises inside becomes Retry with `passing`, or Reject with `refused`, before
        its text.
        """
        from gateway.plugin.database import failure_of

        try:
            yield
        except Reject:
            raise
        except Exception as error:
            failure = failure_of(error, self.url)
            if failure is None:
                raise
            if failure.may_pass:
                raise Retry(f"{passing}: {failure.text}") from None
            raise Reject(f"{refused}: {failure.text}") from None


class DatabaseAction(Action[S]):
    """An action whose runs share the engine of a connection of type database."""

    async def open(self, connection: DatabaseConnection, base_folder: str) -> Database:
        """An engine with its pool; it connects at the first run. Raises Reject where the URL cannot be used."""
        from gateway.plugin.database import open_engine

        url = connection.url.get_secret_value()
        return Database(open_engine(url, base_folder, connection.concurrency), url)

    async def close(self, resource: Database) -> None:
        """Closes the engine's connections."""
        await resource.engine.dispose()
