"""What `fetch` brings, in the form that is kept: Stripe's object, or where the event is asked for too, both of them.

The field `object` of what Stripe sends is a text; where it is an object, the whole is of the second form. The first is
the only one that versions before knew, and gateways of both may share a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NOT_FOUND = "not_found"  # beside `deleted`, in what is kept of an object that Stripe does not know


@dataclass(frozen=True, slots=True)
class FetchAnswer:
    """What was brought."""

    object: Mapping[str, Any]
    event: Mapping[str, Any] | None = None  # the thin event itself, whole, where that was asked for
    not_found: str | None = None  # Stripe's words, where it knows no such object

    def kept(self) -> Mapping[str, Any]:
        """The form that `read_answer` reads."""
        value = self.object if self.not_found is None else {**self.object, _NOT_FOUND: self.not_found}
        return value if self.event is None else {"object": value, "event": self.event}


def read_answer(kept: Mapping[str, Any]) -> FetchAnswer:
    """What was kept, of either form."""
    value, event = kept, None
    if isinstance(kept.get("object"), Mapping):
        value, event = kept["object"], kept.get("event")
    if value.get("deleted") is not True or _NOT_FOUND not in value:
        return FetchAnswer(value, event)
    return FetchAnswer({name: part for name, part in value.items() if name != _NOT_FOUND}, event, value[_NOT_FOUND])


def cut_lists(value: Any) -> list[Any]:
    """The lists in an object of which Stripe sent no more than the beginning (`has_more`), outer ones first."""
    below = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    own = [value] if isinstance(value, Mapping) and value.get("object") == "list" and value.get("has_more") else []
    return own + [cut for part in below for cut in cut_lists(part)]


def holds_lists(value: Any) -> bool:
    """Whether an object has a list of Stripe's in it, which has an address of its own."""
    if isinstance(value, Mapping):
        return value.get("object") == "list" or any(map(holds_lists, value.values()))
    return isinstance(value, list) and any(map(holds_lists, value))


def as_if_whole(value: Any) -> Any:
    """A copy in which every list says that it is whole, as after a real `fetch`."""
    if isinstance(value, Mapping):
        is_list = value.get("object") == "list" and "has_more" in value
        return {name: False if is_list and name == "has_more" else as_if_whole(part) for name, part in value.items()}
    return [as_if_whole(item) for item in value] if isinstance(value, list) else value
