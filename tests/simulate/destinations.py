"""What lies beyond the gateways: destinations that work, are slow, refuse, lie, or take a gateway down; and Stripe."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from random import Random
from typing import Any

from gateway.core.errors import StripeUnavailable
from gateway.plugin import Context, Reject, Retry
from tests.simulate.ledger import Ledger
from tests.simulate.loop import SimulatedLoop, current_process

MANNERS = (
    "works", "slow", "refuses", "asks for time", "asks for a pause", "rejects", "lies", "is odd", "cancels", "raises",
    "drops", "hangs",
)  # fmt: skip
NASTY = ("mute", "exits")  # what ended gateways before


class _MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("this text cannot be had")


class Destinations:
    """How each connection behaves just now, and which objects kill whoever works on them."""

    def __init__(self, loop: SimulatedLoop, rng: Random, ledger: Ledger) -> None:
        self.loop = loop
        self.rng = rng
        self.ledger = ledger
        self.manners: dict[str, tuple[str, ...]] = {}
        self.poison: set[str] = set()

    async def act(self, what: str, connection: str, token: str, context: Context) -> Mapping[str, Any] | None:
        """One run of an action."""
        run = self.ledger.begins(context.delivery_id, context.action, connection)
        try:
            manner = self.rng.choice(self.manners.get(connection, ("works",)))
            if what in self.poison:
                manner = "kills"
            self.ledger.tell(
                f"{connection} {manner}: {context.route}.{context.action} {context.delivery_id[-6:]} {what}"
            )
            return await self._behave(manner, context.delivery_id, token)
        finally:
            run.is_over = True

    async def _behave(self, manner: str, delivery_id: str, token: str) -> Mapping[str, Any] | None:
        await asyncio.sleep(self.rng.uniform(30, 90) if manner == "slow" else self.rng.uniform(0.001, 0.5))
        if manner == "kills":
            process = current_process()
            assert process is not None
            self.loop.end(process, "killed by an action")
            await asyncio.sleep(1e9)
        if manner in ("works", "slow", "lies", "is odd"):
            self.ledger.took_effect(delivery_id)
        match manner:
            case "refuses":
                raise Retry(f"refused {token}")
            case "asks for time":
                raise Retry("busy", after_seconds=5.0)
            case "asks for a pause":
                raise Retry("down", pause_seconds=15.0)
            case "rejects":
                self.ledger.rejected.add(delivery_id)
                raise Reject(f"never {token}")
            case "lies" | "drops":
                raise ConnectionResetError("the connection was lost")
            case "is odd":
                return {"half": "\ud83d", "nan": float("nan"), "token": token, ("not", "a text"): 1}  # type: ignore[dict-item]
            case "cancels":
                raise asyncio.CancelledError
            case "raises":
                raise KeyError(token)
            case "mute":
                raise _MuteError
            case "exits":
                raise SystemExit(3)
            case "hangs":
                await asyncio.sleep(1000)
        return {"token": token}


_now: list[Destinations] = []


@contextlib.contextmanager
def used(destinations: Destinations) -> Iterator[None]:
    """Whom the plugin's action asks meanwhile."""
    _now.append(destinations)
    yield
    _now.remove(destinations)


async def act(settings: Any, context: Context) -> Mapping[str, Any] | None:
    """What the plugin's action does."""
    return await _now[0].act(settings.what, settings.connection, settings.token, context)


class Stripe:
    """Brings objects, in place of `StripeApis`."""

    def __init__(self, rng: Random, ledger: Ledger) -> None:
        self._rng = rng
        self._ledger = ledger
        self.is_away = False
        self.is_live = False

    @contextlib.asynccontextmanager
    async def of(self, _: Any) -> AsyncIterator[Stripe]:
        """What asks with an account's key."""
        yield self

    async def whole(self, path: str, **_: Any) -> Mapping[str, Any]:
        """The object at that path."""
        await asyncio.sleep(self._rng.uniform(0.01, 0.4))
        if self.is_away and self._rng.random() < 0.5:
            raise StripeUnavailable("Stripe is away")
        object_id = path.rsplit("/", 1)[1]
        status = "paid" if self._ledger.later.is_closed(object_id) else "open"
        return {"id": object_id, "object": "invoice", "status": status}
