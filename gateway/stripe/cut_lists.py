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
    path, value = cut
    where = f"object{path.removeprefix(_EVENT_OBJECT)}.data with " if path.startswith(_EVENT_OBJECT) else ""
    has_address = isinstance(value.get("url"), str)
    way = (
        f"{where}fetch: true on the route brings all of them" if has_address else "Stripe names no url to bring them by"
    )
    raise TemplateError(
        leaf.where,
        f"{path} has no more than the first {len(value['data'])} of its items (has_more is true), and {field} would "
        f"leave out the others; {way}",
    )


def _cut_list(references: Iterable[Reference], scope: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The path to the first list that is cut, and the list."""
    paths = {reference.path for reference in references}
    for path in sorted(paths, key=str):
        holder = path[:-1]
        if path[-1] != "data" or (*holder, "has_more") in paths:
            continue
        value = _value_at(holder, scope)
        if isinstance(value, Mapping) and value.get("has_more") is True and isinstance(value.get("data"), list):
            return written(holder), value
    return None


def _value_at(path: tuple[Key, ...], scope: Any) -> Any:
    for key in path:
        try:
            scope = scope[key]
        except (LookupError, TypeError):
            return None
    return scope
