"""The open clients of Stripe's API: one for each account and key."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable

from gateway.core.model import Account
from gateway.stripe.api import StripeApi

_Key = tuple[str, str, float | None, str, float]  # all that makes one StripeApi another


class StripeApis:
    """One StripeApi for each account and key: opened when it is first needed, closed once it is neither in force nor in
    use.
    """

    def __init__(self) -> None:
        self._in_force: frozenset[_Key] = frozenset()
        self._place: tuple[str, float] = ("", 0.0)
        self._opened: dict[_Key, StripeApi] = {}
        self._users: Counter[_Key] = Counter()
        self._closing: set[asyncio.Task[None]] = set()

    def take(self, accounts: Iterable[Account], api_base: str, timeout_seconds: float) -> None:
        """Puts what a configuration says into force."""
        self._place = api_base, timeout_seconds
        self._in_force = frozenset(map(self._key, accounts))
        for key in list(self._opened):
            self._close_if_done(key)

    @contextlib.asynccontextmanager
    async def of(self, account: Account) -> AsyncIterator[StripeApi]:
        """The account's; it stays open meanwhile."""
        key = self._key(account)
        if key not in self._opened:
            api_base, timeout_seconds = self._place
            self._opened[key] = StripeApi(account, api_base=api_base, timeout_seconds=timeout_seconds)
        self._users[key] += 1
        try:
            yield self._opened[key]
        finally:
            self._users[key] -= 1
            self._close_if_done(key)

    def _key(self, account: Account) -> _Key:
        return account.name, account.api_key, account.api_per_second, *self._place

    def _close_if_done(self, key: _Key) -> None:
        if self._users[key] or key in self._in_force or key not in self._opened:
            return
        del self._users[key]
        task = asyncio.create_task(self._opened.pop(key).close(), name="close Stripe's API")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Closes all of them. Nobody asks any more."""
        opened, self._opened = list(self._opened.values()), {}
        await asyncio.gather(*self._closing, *(api.close() for api in opened))
