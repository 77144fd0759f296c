"""Names in templates against what a delivery brings: whatever could never be there is told at load."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.config.checks.stripe_held import Held
from gateway.config.diagnostics.problem import Problem, Severity
from gateway.core.model import Account
from gateway.core.routing import scope_of
from gateway.core.spelling import did_you_mean, nearest
from gateway.templating.references import Key, Locate, Reference

_METHODS = frozenset(("get", "items", "keys", "values"))
_EVENT = frozenset(
    [
        "id",
        "object",
        "account",
        "api_version",
        "context",
        "created",
        "data",
        "livemode",
        "pending_webhooks",
        "request",
        "type",
        "changes",
        "reason",
        "related_object",
        "snapshot_event",
    ]
)
_JINJA_WRITES = {"null": "none", "undefined": "none", "nil": "none", "NULL": "none", "TRUE": "true", "FALSE": "false"}
_CONNECTED = frozenset(("id", "vars"))
_DELIVERY = frozenset(("id", "attempt"))
_APPROVAL = frozenset(("url", "action"))
_STEP = frozenset(("output", "state", "error"))


@dataclass(frozen=True, slots=True)
class Offered:
    """What the templates of one place may name. `needed` and `actions` are None where the route is not sound enough to
    tell; both are empty outside actions.
    """

    constants: Mapping[str, Any]  # `vars`
    account_vars: Mapping[str, Mapping[str, Any]]  # by account, of those that the route takes
    is_action: bool = False
    action: str = ""
    needed: frozenset[str] | None = frozenset()  # actions whose output is there
    actions: frozenset[str] = frozenset()  # all of the route
    without_output: frozenset[str] = frozenset()  # those needed that will not have succeeded
    items: frozenset[str] | None = frozenset()  # names that the action itself brings, such as `item`; None: any
    own_objects: Mapping[str, frozenset[str]] = field(default_factory=dict)  # fields by type, of own events alone
    is_digest: bool = False
    thin_data: frozenset[str] | None = None  # fields of thin events' own data: none before it is read; None: not known
    approval: str | None = "only actions know approval"  # why there is no approval.url; "": there is; None: not known
    held: Held | None = None  # what Stripe's events of the route hold, where that is checked

    def with_held(self, held: Held | None) -> Offered:
        """The same where the events hold this."""
        return self if held is self.held else replace(self, held=held)


def roots(is_action: bool) -> frozenset[str]:
    """The first names that there are."""
    scope = scope_of({"data": {"object": {}}}, Account("", (), None, 0.0), {})
    return frozenset(scope) | (frozenset(("steps", "delivery", "approval")) if is_action else frozenset())


_AT_INTAKE, _IN_ACTION = roots(False), roots(True)
_IN_DIGEST = frozenset(("events", "count"))
_ACCOUNT = frozenset(scope_of({}, Account("", (), None, 0.0), {})["account"])


def unknown_names(references: tuple[Reference, ...], offered: Offered, locate: Locate) -> Iterator[Problem]:
    """A problem for each reference that nothing can satisfy."""
    for reference in references:
        fault = _fault(reference, offered)
        if fault is not None:
            part, message, hint, severity = fault
            yield Problem(locate(reference, part), message, hint, severity, "template-name")


@functools.lru_cache(maxsize=64)
def _known(is_action: bool, is_digest: bool, items: frozenset[str] | None) -> frozenset[str]:
    """The first names that there are at one place."""
    known = (_IN_ACTION if is_action else _AT_INTAKE) | (items or frozenset())
    return known | _IN_DIGEST if is_digest else known


_Fault = tuple[int, str, str | None, Severity]


def _fault(reference: Reference, offered: Offered) -> _Fault | None:
    path = reference.path
    root = str(path[0])
    if root == "object" and not offered.own_objects:  # the most of them
        return None
    known = _known(offered.is_action, offered.is_digest, offered.items)
    if reference.is_optional or (offered.items is None and root not in known):
        return None
    if root not in known:
        return (0, *_unknown_root(root, known), "error")
    if root == "approval" and offered.approval:
        return 0, f"there is no approval here: {offered.approval}", None, "error"
    if root in (offered.items or ()) or len(path) < 2 or path[1] in _METHODS:
        return None
    name = path[1]
    if root == "vars":
        return _constant(("vars",), path[1:], offered.constants)
    if root == "account":
        return _account(path, offered)
    if root == "object" and offered.own_objects:
        return _own_object(str(name), offered.own_objects)
    if root == "steps":
        return _step(path, offered)
    if root == "approval" and name not in _APPROVAL:
        return 1, f"approval has no {name}", did_you_mean(str(name), _APPROVAL), "error"
    if root == "delivery" and name not in _DELIVERY:
        return 1, f"delivery has no {name}", did_you_mean(str(name), _DELIVERY), "error"
    if root == "connected_account" and name not in _CONNECTED:
        return 1, f"connected_account has no {name}", did_you_mean(str(name), _CONNECTED), "error"
    if root == "event" and name == "data" and offered.thin_data is not None:
        return _thin_data(path, offered.thin_data, offered.is_action)
    if root == "event" and name not in _EVENT:
        near = nearest(str(name), _EVENT)
        hint = f"did you mean event.{near}?" if near else "the fields of Stripe's object are in `object`"
        return 1, f"events have no field {name}", hint, "warning"
    return None


def _thin_data(path: tuple[Key, ...], fields: frozenset[str], is_action: bool) -> _Fault | None:
    """A path into the data of a thin event."""
    if not fields:
        way = "fetch: {event: true} brings it" if is_action else "it is known in actions, with fetch: {event: true}"
        return 1, "a thin event is posted without its data", way, "error"
    if len(path) < 3 or path[2] in fields or path[2] in _METHODS:
        return None
    return 2, f"event.data has no {path[2]} in these events", did_you_mean(str(path[2]), fields), "error"


def _unknown_root(root: str, known: frozenset[str]) -> tuple[str, str | None]:
    if root in _JINJA_WRITES:
        return f"there is no name {root} here", f"Jinja writes {_JINJA_WRITES[root]}"
    if root in ("steps", "delivery", "approval"):
        return (
            f"{root} is not known here: a route is judged when its event arrives",
            "use it in an action's `if` or `with`",
        )
    if root == "item":
        return "item is not known here", "for_each brings item: one element of its list after the other"
    if root in _IN_DIGEST:
        return f"there is no name {root} here", "only the actions of a route with digest have it"
    if root == "data":
        return "there is no name data here", "did you mean event.data? `object` is event.data.object"
    return f"there is no name {root} here", did_you_mean(root, known)


def _constant(before: tuple[str, ...], path: tuple[Key, ...], constants: Mapping[str, Any]) -> _Fault | None:
    """A path into constants, which are all there to be looked at."""
    holder: Any = constants
    for i, key in enumerate(path):
        if not isinstance(holder, Mapping) or key in _METHODS:
            return None
        if key not in holder:
            shown = ".".join((*before, *map(str, path[:i])))
            return len(before) + i, f"{shown} has no {key}", did_you_mean(str(key), map(str, holder)), "error"
        holder = holder[str(key)]
    return None


def _account(path: tuple[Key, ...], offered: Offered) -> _Fault | None:
    name = path[1]
    if name not in _ACCOUNT:
        near = nearest(str(name), _ACCOUNT)
        hint = f"did you mean {near}?" if near else "constants of an account are in account.vars"
        return 1, f"account has no {name}", hint, "error"
    if name != "vars" or len(path) < 3 or path[2] in _METHODS or not offered.account_vars:
        return None
    key = str(path[2])
    without = sorted(account for account, constants in offered.account_vars.items() if key not in constants)
    if not without:
        return None
    if len(without) == len(offered.account_vars):
        known = {str(constant) for constants in offered.account_vars.values() for constant in constants}
        return 2, f"no account of this route has vars.{key}", did_you_mean(key, known), "error"
    shown = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
    hint = "give it there too, or write | default(...)"
    return 2, f"account.vars.{key} is missing in {shown}: a dead letter for each of its events", hint, "warning"


def _own_object(name: str, fields: Mapping[str, frozenset[str]]) -> _Fault | None:
    """A field of the gateway's own objects, which are all known."""
    without = [event_type for event_type in fields if name not in fields[event_type]]
    if len(without) == len(fields):
        known = frozenset[str]().union(*fields.values())
        return 1, f"none of these events has object.{name}", did_you_mean(name, known), "error"
    if without:
        hint = f"say `if: event.type == ...`, or write object.{name} | default(...); every own event has object.summary"
        return 1, f"object.{name} is missing in {', '.join(without)}: a dead letter for each", hint, "warning"
    return None


def _step(path: tuple[Key, ...], offered: Offered) -> _Fault | None:
    if offered.needed is None:
        return None
    name = str(path[1])
    if name not in offered.needed:
        if name == offered.action:
            return 1, f"steps.{name} is this very action, which has no output yet", None, "error"
        if name in offered.actions:
            return (
                1,
                f"{offered.action} does not need {name}, so steps.{name} is not known",
                f"needs: [{name}]",
                "error",
            )
        return 1, f"the route has no action {name}", did_you_mean(name, offered.actions - {offered.action}), "error"
    if len(path) > 2 and path[2] == "output" and name in offered.without_output:
        hint = f"steps.{name}.error says why, steps.{name}.state how it ended"
        return 2, f"{offered.action} runs where {name} has not succeeded, so it has no output", hint, "error"
    if len(path) > 2 and path[2] not in _STEP and path[2] not in _METHODS:
        return 2, f"steps.{name} has no {path[2]}", f"did you mean steps.{name}.output.{path[2]}?", "error"
    return None
