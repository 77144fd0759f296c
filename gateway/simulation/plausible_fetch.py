"""What `fetch` would bring, where nobody asks Stripe: the event's own object, and samples of what it does not hold."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.core.envelope import THIN, own_object
from gateway.core.fetch_answer import FetchAnswer, as_if_whole
from gateway.core.model import Account, Fetch
from gateway.delivery.fetch import question
from gateway.stripe import objects
from gateway.stripe.objects import FieldType

_TOKEN = "1SbdZdaCd8jD5HB7"  # noqa: S105 - ends the ids of samples


def plausible_answer(
    envelope: Mapping[str, Any], account: Account, fetch: Fetch, now: int, fetched: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """The answer, as a Fetcher gives it; the same for the same arguments. `now` is in Unix seconds; `fetched` is the
    object where somebody has said what it is. Raises StripeRefused where nothing could be asked for.
    """
    question(envelope, account, fetch)
    value = fetched if fetched is not None else own_object(envelope) or _named(envelope, fetch, now)
    whole = as_if_whole(copy.deepcopy(dict(value)))
    if fetched is None and fetch.asks_object:
        inside = _fields(whole)
        for path in fetch.expand:
            _expand(whole, inside, path.split("."), now)
    if not fetch.asks_event or envelope.get("object") != THIN:
        return FetchAnswer(whole).kept()
    return FetchAnswer(whole, {"data": _data(envelope, now), **envelope}).kept()


def _named(envelope: Mapping[str, Any], fetch: Fetch, now: int) -> Mapping[str, Any]:
    """The object that a thin event is about, or the event itself where it is about none."""
    from gateway.testing.samples import make_sample

    related = envelope.get("related_object")
    if not isinstance(related, Mapping):
        return {"data": _data(envelope, now), **envelope}
    named = {"id": related.get("id"), "object": related.get("type")}
    sample = make_sample(str(envelope.get("type")), None, now=now, token=_TOKEN) if fetch.asks_object else None
    return named if sample is None else {**sample.object, **named}


def _data(envelope: Mapping[str, Any], now: int) -> Mapping[str, Any]:
    from gateway.testing.samples import make_thin_data

    return make_thin_data(str(envelope.get("type")), now=now) or {}


def _fields(value: Mapping[str, Any]) -> Mapping[str, FieldType]:
    name = value.get("object")
    return objects.fields(name) if name in objects.object_names() else {}


def _expand(part: Any, inside: Mapping[str, FieldType], steps: Sequence[str], now: int) -> None:
    """Puts samples where a path, as `expand` has it, leads to ids, and to lists that are there only when expanded."""
    from gateway.testing.samples import make_object

    name, *rest = steps
    field = inside.get(name)
    if field is None or not isinstance(part, dict):
        return
    value = part.get(name)
    if field.kind == "expandable" and isinstance(value, str) and field.objects:
        part[name] = make_object(field.objects[0], {"id": value}, now=now, token=_TOKEN)
    elif field.kind == "list" and value is None and field.item is not None and field.item.objects:
        item = make_object(field.item.objects[0], now=now, token=_TOKEN)
        part[name] = {"object": "list", "data": [item], "has_more": False, "url": "/v1/samples"}
    below, values = (field.item, part.get(name)) if field.kind == "array" else (field, [part.get(name)])
    further = objects.fields_in(below, is_expanded=True) if below is not None else None
    for value in values if rest and further and isinstance(values, list) else ():
        _expand(value, further or {}, rest, now)
