"""The methods of Stripe's API (v1) that write, by the names that the official library gives them: `refunds.create`."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gateway.core.spelling import nearest

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_PLACE = re.compile(r"id-(\d)-")


@dataclass(frozen=True, slots=True)
class StripeMethod:
    """One method that writes."""

    name: str
    verb: str  # post or delete
    path: str  # with `id-0-`, `id-1-` in the place of ids
    ids: tuple[str, ...]  # what each id is of, such as `customer`

    def path_for(self, ids: Sequence[str]) -> str:
        """Its path with these ids, as many as it takes."""
        return _PLACE.sub(lambda place: quote(ids[int(place[1])], safe=""), self.path)


class _Recorder:
    """Takes the place of what sends requests, and remembers what it was to send."""

    def __init__(self) -> None:
        self.asked: tuple[str, str, Any] = ("", "", None)

    def request(self, verb: str, path: str, params: Any, options: Any, *, base_address: Any, usage: Any) -> None:
        self.asked = verb, path, base_address

    request_stream = request


@functools.lru_cache(maxsize=1000)
def method_named(name: str) -> StripeMethod | None:
    """A method by its name; None where the library has none, or one that only reads, or does not send a form."""
    service = _service(name.rpartition(".")[0])
    function = getattr(service, name.rpartition(".")[2], None) if _NAME.fullmatch(name) else None
    if service is None or not inspect.ismethod(function) or inspect.iscoroutinefunction(function):
        return None
    parameters = inspect.signature(function).parameters
    if not {"params", "options"} <= parameters.keys():
        return None
    ids = tuple(parameter for parameter in parameters if parameter not in ("params", "options"))
    function(*(f"id-{place}-" for place in range(len(ids))), params={})
    verb, path, base = service._requestor.asked  # type: ignore[attr-defined]  # the recorder, by `_service`
    is_write = verb in ("post", "delete") and base == "api" and path.startswith("/v1/")
    return StripeMethod(name, verb, path, ids) if is_write else None


def did_you_mean_method(name: str) -> str | None:
    """The nearest name of a method that writes; None where none is near."""
    group, _, last = name.rpartition(".")
    service = _service(group)
    if service is None:
        near = nearest(group, _groups())
        return None if near is None or method_named(f"{near}.{last}") is None else f"{near}.{last}"
    methods = (known for known in dir(service) if not known.startswith("_") and not known.endswith("_async"))
    near = nearest(last, [known for known in methods if method_named(f"{group}.{known}") is not None])
    return None if near is None else f"{group}.{near}"


def _service(group: str) -> object | None:
    """The library's service of a dotted name, which sends nothing; None where there is none."""
    from stripe._stripe_service import StripeService
    from stripe._v1_services import V1Services

    service: Any = V1Services(_Recorder())  # type: ignore[no-untyped-call]  # the library's own types end here
    for part in group.split("."):
        if part.startswith("_"):
            return None
        try:
            service = getattr(service, part)
        except AttributeError:
            return None
    return service if isinstance(service, StripeService) else None


def _groups() -> Sequence[str]:
    from stripe import _v1_services

    known: Mapping[str, Any] = getattr(_v1_services, "_subservices", {})
    return tuple(known)
