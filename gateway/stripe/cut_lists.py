"""Lists of which Stripe puts no more than the first ten items into an object: https://docs.stripe.com/api/pagination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.core.errors import TemplateError
from gateway.templating.compiler import Leaf
from gateway.templating.references import Key, Reference, written

_EVENT_OBJECT = "event.data.object"


def refuse_cut_list(field: str, leaf: Leaf, scope: Mapping[str, Any]) -> None:
    """Raises TemplateError where a field of `with` whose elements are taken one by one is such a list, unless the
    template looks at `has_more` itself.
    """
    cut = _cut_list(leaf.references, scope)
    if cut is None:
        return
    path, count = cut
    of_event = path.startswith(_EVENT_OBJECT)
    where = f"object{path.removeprefix(_EVENT_OBJECT)}.data with " if of_event else ""
    raise TemplateError(
        leaf.where,
        f"{path} has no more than the first {count} of its items (has_more is true), and {field} would leave out the "
        f"others; {where}fetch: true on the route brings all of them",
    )


def _cut_list(references: Iterable[Reference], scope: Mapping[str, Any]) -> tuple[str, int] | None:
    """The path to the first list that is cut, and how many items it has."""
    paths = {reference.path for reference in references}
    for path in sorted(paths, key=str):
        holder = path[:-1]
        if path[-1] != "data" or (*holder, "has_more") in paths:
            continue
        value = _value_at(holder, scope)
        if isinstance(value, Mapping) and value.get("has_more") is True and isinstance(value.get("data"), list):
            return written(holder), len(value["data"])
    return None


def _value_at(path: tuple[Key, ...], scope: Any) -> Any:
    for key in path:
        try:
            scope = scope[key]
        except (LookupError, TypeError):
            return None
    return scope
