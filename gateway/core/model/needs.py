"""How what a delivery `needs` has to end, and what becomes of those that wait when something has ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

NEEDED = "needed action "
"""How the reason of a delivery begins that was skipped for the sake of one that it needs."""

DRY_RUN = "dry run: "
"""How the reason of a delivery begins that was skipped because nothing was to be sent. Those that need it run dry
as well: they know by a need that has ended without an output.
"""

STOOD_FOR = ("digest: ", "debounce: ")
"""How reasons of deliveries begin for which another one acts: it is for that one that others wait, not for these."""


class Need(StrEnum):
    """How something that is needed has to end."""

    SUCCEEDED = "succeeded"
    DEAD = "dead"  # failed for good, or expired
    SKIPPED = "skipped"
    ANY = "any"  # however it ends


class End(NamedTuple):
    """Where a delivery stands, and why."""

    state: str
    reason: str | None


def was_dry(state: str, reason: str | None) -> bool:
    """Whether a delivery was skipped because nothing was to be sent."""
    return state == "skipped" and reason is not None and reason.startswith(DRY_RUN)


def is_met(need: Need, end: End) -> bool | None:
    """Whether a need is met. None: not yet, and it may be; what is dead may be retried."""
    state = end.state
    if state in ("blocked", "pending", "running"):
        return None
    if was_dry(*end):
        state = "succeeded"
    elif state == "skipped" and (end.reason or "").startswith(STOOD_FOR):
        state = "stood for"
    if need is Need.ANY:
        return state != "stood for"
    if need is Need.DEAD:
        return state in ("dead", "expired")
    return None if state == "dead" else state == need


def reason_for(action: str, state: str) -> str:
    """Why a delivery is skipped whose need cannot be met any more."""
    return f"{NEEDED}{action} {state}" if state == "succeeded" else f"{NEEDED}{action} was {state}"


def never_runs(action: str, need: Need) -> str:
    """Why nobody can retry what waits for a need that cannot be met by a retry of it either."""
    return f"it runs only where {action} is {need}, and that has succeeded"


class Settled(NamedTuple):
    """What becomes of those that waited."""

    skipped: Mapping[str, str]  # the actions that can never run now, and why
    released: tuple[str, ...]  # those that wait for nothing more


def settle(run: Mapping[str, End], needs: Mapping[str, Mapping[str, Need]], ended: str | None) -> Settled:
    """What becomes of a run's blocked actions, with what each needs, now that one has ended: what needed another end of
    it is skipped, and then what needs that. `ended` None: one waits anew, and nobody is skipped.
    """
    ends, skipped = dict(run), dict[str, str]()
    todo = [] if ended is None else [ended]
    while todo:
        name = todo.pop(0)
        reason = skipped.get(name) or reason_for(name, ends[name].state)
        for action, theirs in needs.items():
            if action not in skipped and name in theirs and is_met(theirs[name], ends[name]) is False:
                skipped[action], ends[action] = reason, End("skipped", reason)
                todo.append(action)
    released = tuple(
        action
        for action, theirs in needs.items()
        if action not in skipped and all(name in ends and is_met(need, ends[name]) for name, need in theirs.items())
    )
    return Settled(skipped, released)


def kept_needs(names: tuple[str, ...], otherwise: Mapping[str, Need]) -> str:
    """As stores keep it: a JSON list of names, or where one has to end otherwise than well, an object."""
    if not otherwise:
        return json.dumps(names) if names else "[]"
    return json.dumps({name: otherwise.get(name, Need.SUCCEEDED) for name in names})


def needs_of(kept: str) -> dict[str, Need]:
    """What a store keeps so."""
    if kept == "[]":
        return {}
    needs = json.loads(kept)
    return {name: Need(needs[name]) if isinstance(needs, dict) else Need.SUCCEEDED for name in needs}


def otherwise_of(needs: Mapping[str, Need]) -> dict[str, Need]:
    """Those that have to end otherwise than well."""
    return {name: need for name, need in needs.items() if need is not Need.SUCCEEDED}
