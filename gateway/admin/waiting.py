"""Why a delivery does not run just now, and what came of an event by its deliveries, in words for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

from gateway.admin.amounts import duration
from gateway.core.model import ConnectionState, ConnectionStatus, Delivery, DeliveryState, Need, is_until_reached

Outcome = Literal["dead", "expired", "waiting", "succeeded", "skipped", "cancelled"]
STATES: dict[Outcome, tuple[DeliveryState, ...]] = {  # the first of which an event has a delivery decides
    "dead": (DeliveryState.DEAD,),
    "expired": (DeliveryState.EXPIRED,),
    "waiting": (DeliveryState.PENDING, DeliveryState.RUNNING, DeliveryState.BLOCKED),
    "succeeded": (DeliveryState.SUCCEEDED,),
    "cancelled": (DeliveryState.CANCELLED,),
    "skipped": (DeliveryState.SKIPPED,),
}


def outcome_of(states: Iterable[DeliveryState]) -> Outcome | None:
    """What came of an event whose deliveries are in these states; None where nothing was owed."""
    counts = Counter(states)
    return next((outcome for outcome, words in STATES.items() if any(counts[word] for word in words)), None)


def _needed(delivery: Delivery, name: str) -> str:
    """`save to succeed`, `save to be dead`, `save to end`."""
    need = delivery.otherwise.get(name, Need.SUCCEEDED)
    return f"{name} to {'succeed' if need is Need.SUCCEEDED else 'end' if need is Need.ANY else f'be {need}'}"


def waits_for(
    delivery: Delivery,
    connection: ConnectionStatus | None,
    needed: Sequence[str],
    now: datetime | None = None,
    route: ConnectionStatus | None = None,
) -> str | None:
    """What a blocked or pending delivery waits for; None for others. `needed` are the actions it needs, `connection`
    is how the one that it goes by stands, `route` how its route does.
    """
    now = now or datetime.now(UTC)
    until = None
    if delivery.waits_until is not None and delivery.waits_until > now:
        in_words = duration((delivery.waits_until - now).total_seconds())
        until = f"{delivery.waits_until.isoformat(sep=' ', timespec='minutes')}, in {in_words}"
    if delivery.state is DeliveryState.BLOCKED:
        also = "" if until is None else f", and until {until}"
        return f"for {' and '.join(_needed(delivery, name) for name in needed)}{also}"
    if delivery.state is not DeliveryState.PENDING:
        return None
    if route is not None and route.state is not ConnectionState.WORKING:
        return _until_resumed(f"route {delivery.route}", route)
    if delivery.word.is_awaited and (delivery.word.until or now) > now:
        return "for a yes" + (f": {delivery.reason}" if delivery.reason else "")
    if until is not None:
        return f"until {until}"
    if delivery.waits_for_turn:
        return "for its turn: another delivery goes first by order_by or once_per"
    if connection is not None and connection.state is not ConnectionState.WORKING:
        return _for_connection(connection)
    if delivery.next_attempt_at is not None and delivery.next_attempt_at > now:
        sooner = f", or sooner: it {delivery.reason}" if is_until_reached(delivery.reason) else ""
        return f"for its next attempt, in {duration((delivery.next_attempt_at - now).total_seconds())}{sooner}"
    return "for nothing: it runs as soon as a gateway has a place for it"


def _until_resumed(what: str, status: ConnectionStatus) -> str:
    return f"for {what}, which is paused until it is resumed" + (f" ({status.reason})" if status.reason else "")


def _for_connection(connection: ConnectionStatus) -> str:
    because = f" ({connection.reason})" if connection.reason else ""
    if connection.state is ConnectionState.PROBING:
        return f"for connection {connection.name}, which another delivery is trying now{because}"
    if connection.left_seconds is None:
        return _until_resumed(f"connection {connection.name}", connection)
    again = f"tried again in {duration(connection.left_seconds)}"
    return f"for connection {connection.name}, which is paused; {again}{because}"
