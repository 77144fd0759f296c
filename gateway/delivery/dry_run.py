"""Dry runs: everything but the sending. A dry run always ends `skipped`; its reason says how it would have gone on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core.model import DRY_RUN, ActionUse, Attempt, Claim, DeliveryState, Finish, Route, was_dry


class Unsent(dict[str, Any]):
    """The step of a need that was a dry run: it has no output. Remembers whether a template asked for one."""

    was_asked = False

    def __missing__(self, key: str) -> Any:
        self.was_asked = True
        raise KeyError(key)


def why_dry(claim: Claim, route: Route, action: ActionUse) -> str | None:
    """Why nothing is to be sent for a claim, or None where it is meant."""
    if route.dry_run:
        return f"route {route.name} says dry_run"
    if action.dry_run:
        return f"action {action.name} says dry_run"
    if unsent := _unsent(claim):
        return f"it needs {', '.join(unsent)}, of which nothing was sent either; retry that to send both"
    return None


def steps_of(claim: Claim, needed: frozenset[str]) -> dict[str, Any]:
    """What templates see as `steps`: how what an action needs has ended, and the outputs of what succeeded."""
    steps: dict[str, Any] = {
        name: {"output": output, "state": "succeeded", "error": None}
        for name, output in claim.outputs.items()
        if name in needed
    }
    for name, end in claim.ends.items():
        if name in needed and not was_dry(*end):
            steps[name] = {"state": end.state, "error": end.reason}
    if _unsent(claim):
        steps |= {name: Unsent(state="skipped", error=None) for name in needed if name not in steps}
    return steps


def _unsent(claim: Claim) -> list[str]:
    """The needs that were dry runs: they have ended, and no output came of them."""
    otherwise = claim.delivery.otherwise
    return [
        need
        for need in claim.delivery.needs
        if need not in claim.outputs and (need not in otherwise or (need in claim.ends and was_dry(*claim.ends[need])))
    ]


def dry_finish(why: str, attempt: Attempt, rendered: Any, steps: Mapping[str, Any], error: str | None) -> Finish:
    """How a dry run ends. `error` is what would have made it a dead letter, or kept it from being rendered."""
    unsent = sorted(name for name, step in steps.items() if isinstance(step, Unsent) and step.was_asked)
    if error is None:
        outcome = "nothing was sent"
    elif unsent:
        outcome = f"not rendered in full, because the output of {', '.join(unsent)} is not known ({error})"
    else:
        outcome = f"it would be a dead letter: {error}"
    return Finish(DeliveryState.SKIPPED, attempt, reason=f"{DRY_RUN}{outcome} ({why})", rendered=rendered)
