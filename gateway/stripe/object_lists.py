"""The lists of Stripe's API, as the pinned library has them: where each is, and whether it can be asked for by time.

Imports the library, which takes long.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module

from stripe._listable_api_resource import ListableAPIResource
from stripe._object_classes import OBJECT_CLASSES

_WHOLE: Mapping[str, Mapping[str, str]] = {"subscription": {"status": "all"}}
"""Without this a list leaves some out: https://docs.stripe.com/api/subscriptions/list"""


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The list of all objects of a kind. The newest come first, at most 100 at a time."""

    kind: str
    path: str
    is_by_time: bool  # it takes `created[gte]` and `created[lt]`
    params: Mapping[str, str] = field(default_factory=dict)  # so that nothing is left out


@functools.cache
def list_of(kind: str) -> ObjectList | str:
    """The list of a kind, the value of the field `object`; or why there is none that can be gone through, in words."""
    location = OBJECT_CLASSES.get(kind)
    known = None if location is None else getattr(import_module(location[0]), location[1])
    if location is None or not (isinstance(known, type) and issubclass(known, ListableAPIResource)):
        return f"Stripe has no list of every {kind}"
    holder, _, module = location[0].removeprefix("stripe").rpartition(".")
    asked = getattr(import_module(f"stripe.params{holder}.{module}_list_params"), f"{known.__name__}ListParams")
    names = inspect.get_annotations(asked)
    parents = [name for name, kind_of in names.items() if "NotRequired" not in str(kind_of)]
    if parents:
        return f"Stripe lists each {kind} below its {parents[0]}, and not all of them"
    return ObjectList(kind, known.class_url(), "created" in names, _WHOLE.get(kind, {}))
