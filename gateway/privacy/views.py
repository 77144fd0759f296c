"""What people may see of stored events and deliveries: their account's `redact` paths are hidden, wherever they look.

Templates and actions never come here: they get the true values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.core.envelope import parse_json
from gateway.core.errors import EnvelopeError
from gateway.core.internal_events import is_own, subject_of
from gateway.core.masking import Masker, Maskers
from gateway.core.model import Attempt, Delivery, Event, RejectedRequest
from gateway.core.routing import is_digest
from gateway.privacy.redaction import REDACTED, RedactedPath, hidden_in, redacted

if TYPE_CHECKING:  # takes long to import: `gateway check` does without
    from gateway.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Redactions:
    """What nobody is shown: the `redact` paths of each account, and the secrets of the configuration."""

    paths: Mapping[str, tuple[RedactedPath, ...]]
    secrets: Masker = field(default=Masker(()), repr=False)


async def shown_event(store: Store, event: Event, redactions: Redactions) -> Event:
    """The event with the body that may be shown: as posted where nothing is to be hidden. What an own event says of
    another is hidden as the other's account asks.
    """
    paths = redactions.paths.get(event.account, ())
    subject = await _subject(store, event) if any(redactions.paths.values()) else []
    if not event.body or not (paths or subject):
        return event
    try:
        value = hidden_in(subject, redactions.paths).mask(redacted(parse_json(event.body), paths))
        body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except EnvelopeError:
        body = json.dumps(REDACTED).encode()  # where nothing is found, nothing may be shown
    return replace(event, body=body)


async def _subject(store: Store, event: Event) -> list[Event]:
    """The event that an own event tells of; empty for others, and where that is gone."""
    if not is_own(event.type):
        return []
    try:
        subject = subject_of(parse_json(event.body))
    except EnvelopeError:
        return []
    return [] if subject is None else await store.event(subject[1], subject[0])


def shown_rejected(request: RejectedRequest, redactions: Redactions) -> RejectedRequest:
    """The same for a rejected request; one that was for no account in particular is shown as all of them ask. What is
    no JSON object is shown as it is: nothing tells where its fields are.
    """
    paths = [path for name, own in redactions.paths.items() if request.account in (None, name) for path in own]
    if not paths:
        return request
    try:
        body = redacted(parse_json(request.body), paths)
    except EnvelopeError:
        return request
    return replace(request, body=json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))


async def shown_delivery(
    store: Store, delivery: Delivery, attempts: Sequence[Attempt], redactions: Redactions
) -> tuple[Delivery, list[Attempt]]:
    """A delivery as it may be shown: hidden values are looked for in what was rendered, in outputs and in errors."""
    masker = Maskers(redactions.secrets, await _masker(store, delivery, redactions))
    return _masked(delivery, masker), [
        replace(attempt, error=masker.mask(attempt.error), exchanges=shown_exchanges(attempt.exchanges, masker))
        for attempt in attempts
    ]


def shown_exchanges(kept: Any, masker: Maskers) -> Any:
    """What an attempt sent and got: its texts alone are masked, for its sizes, its times and its keys are ours."""
    if not isinstance(kept, list):
        return masker.mask(kept)
    return [
        {key: value if isinstance(value, (int, float)) else masker.mask(value) for key, value in row.items()}
        for row in kept
    ]


async def shown_deliveries(store: Store, deliveries: Sequence[Delivery], redactions: Redactions) -> list[Delivery]:
    """The same for a list. Only those that say anything in words cost a look at their event."""
    maskers: dict[tuple[str, ...], Masker] = {}
    shown = []
    for delivery in deliveries:
        if delivery.reason is not None or delivery.last_error is not None:
            key = (delivery.account, delivery.event_id, delivery.id if is_digest(delivery) else delivery.run_id)
            if key not in maskers:
                maskers[key] = await _masker(store, delivery, redactions)
            delivery = _masked(delivery, Maskers(redactions.secrets, maskers[key]))
        shown.append(delivery)
    return shown


async def _masker(store: Store, delivery: Delivery, redactions: Redactions) -> Masker:
    """Hides what accounts redact in the events that a delivery brings, in each as its own account asks: its event, or
    those of its digest, and those that own events among them tell of.
    """
    if not any(redactions.paths.values()):
        return Masker(())
    brought = await store.gathered(delivery.id) if is_digest(delivery) else []
    brought = brought or await store.event(delivery.event_id, delivery.account)
    events = list(brought)
    for event in brought:
        events += await _subject(store, event)
    fetched = await store.fetched(delivery.run_id)
    return hidden_in(events, redactions.paths, None if fetched is None else fetched.object)


def _masked(delivery: Delivery, masker: Maskers) -> Delivery:
    return replace(
        delivery,
        reason=masker.mask(delivery.reason),
        last_error=masker.mask(delivery.last_error),
        rendered=masker.mask(delivery.rendered),
        output=masker.mask(delivery.output),
    )
