"""Work on the inbox from the command line: on the store here, or through a console's API."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.cli.main import options, run, with_store

if TYPE_CHECKING:
    from gateway.admin.operations import Operations
    from gateway.cli.api_client import RemoteOperations
    from gateway.store.protocol import Store

T = TypeVar("T")


def with_inbox(work: Callable[[Operations | RemoteOperations], Coroutine[Any, Any, T]]) -> T:
    """Runs `work` on the inbox: through the console's API where `--url` is given, else on the store itself."""
    if not options.url:
        return with_operations(work)

    async def main() -> T:
        from gateway.cli.api_client import RemoteOperations
        from gateway.cli.inbox import this_person

        remote = RemoteOperations(options.url, options.token, this_person().name)
        try:
            return await work(remote)
        finally:
            await remote.close()

    return run(main)


def with_operations(work: Callable[[Operations], Coroutine[Any, Any, T]]) -> T:
    """Runs `work` on the store itself, as whoever sits at this terminal may."""

    async def on_store(store: Store) -> T:
        from gateway.cli.inbox import operations_on

        return await work(operations_on(store))

    return with_store(on_store)
