"""What people may see of stored events and deliveries: their account's `redact` paths are hidden, wherever they look.

Templates and actions never come here: they get the true values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.core.envelope import parse_json
from gateway.core.errors import EnvelopeError
from gateway.core.masking import Masker, Maskers
from gateway.core.model import Account, Attempt, Delivery, Event, RejectedRequest
from gateway.privacy.redaction import REDACTED, RedactedPath, masker_for, redacted
from gateway.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Redactions:
    """What nobody is shown: the `redact` paths of each account, and the secrets of the configuration."""

    paths: Mapping[str, tuple[RedactedPath, ...]]
    secrets: Masker = field(default=Masker(()), repr=False)


def redactions_of(accounts: Mapping[str, Account], secrets: Masker) -> Redactions:
    """Those of a configuration."""
    return Redactions({name: account.redact for name, account in accounts.items()}, secrets)


def shown_event(event: Event, redactions: Redactions) -> Event:
    """The event with the body that may be shown: as posted where nothing is to be hidden."""
    paths = redactions.paths.get(event.account)
    if not paths or not event.body:
        return event
    try:
        body = json.dumps(redacted(parse_json(event.body), paths), ensure_ascii=False).encode("utf-8", "surrogatepass")
    except EnvelopeError:
        body = json.dumps(REDACTED).encode()  # where nothing is found, nothing may be shown
    return replace(event, body=body)


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
    return _masked(delivery, masker), [replace(attempt, error=masker.mask(attempt.error)) for attempt in attempts]


async def shown_deliveries(store: Store, deliveries: Sequence[Delivery], redactions: Redactions) -> list[Delivery]:
    """The same for a list. Only those that say anything in words cost a look at their event."""
    maskers: dict[tuple[str, str, str], Masker] = {}
    shown = []
    for delivery in deliveries:
        if delivery.reason is not None or delivery.last_error is not None:
            key = (delivery.account, delivery.event_id, delivery.run_id)
            if key not in maskers:
                maskers[key] = await _masker(store, delivery, redactions)
            delivery = _masked(delivery, Maskers(redactions.secrets, maskers[key]))
        shown.append(delivery)
    return shown


async def _masker(store: Store, delivery: Delivery, redactions: Redactions) -> Masker:
    """Hides what the delivery's account redacts in its event."""
    paths = redactions.paths.get(delivery.account)
    if not paths:
        return Masker(())
    stored = await store.event(delivery.event_id, delivery.account)
    fetched = await store.fetched(delivery.run_id)
    try:
        event = parse_json(stored[0].body) if stored else {}
    except EnvelopeError:
        event = {}
    return masker_for(event, None if fetched is None else fetched.object, paths)


def _masked(delivery: Delivery, masker: Maskers) -> Delivery:
    return replace(
        delivery,
        reason=masker.mask(delivery.reason),
        last_error=masker.mask(delivery.last_error),
        rendered=masker.mask(delivery.rendered),
        output=masker.mask(delivery.output),
    )
