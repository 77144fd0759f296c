"""Routes and their actions, compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.core.errors import Where
from gateway.core.model.accounts import OWN
from gateway.core.model.deliveries import DISABLED
from gateway.core.model.expressions import Expression
from gateway.core.model.later import Later
from gateway.core.model.needs import Need


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retry:` of the defaults or of one action."""

    attempts: int  # runs in all, the first one included
    first_seconds: float
    factor: float
    max_seconds: float


@dataclass(frozen=True, slots=True)
class Fetch:
    """A route's `fetch`: what to ask Stripe for when a delivery runs."""

    expand: tuple[str, ...] = ()
    api_version: str | None = None  # None: the account's, else the event's
    again: bool = False  # at every attempt, instead of once for all of an event's actions
    asks_object: bool = True  # False: the event's own is taken, and only its lists are brought to their end
    asks_event: bool = False  # a thin event itself too, whole


@dataclass(frozen=True, slots=True)
class Digest:
    """A route's `digest`: events that come close together go out as one."""

    every_seconds: float  # between two digests at least
    wait_seconds: float  # for more, after the first event


@dataclass(frozen=True, slots=True)
class Debounce:
    """A route's `debounce`: of a burst of events with one value of `order_by`, the last one acts."""

    wait_seconds: float  # without another, after the last
    max_seconds: float  # after the first, at most


@dataclass(frozen=True, slots=True)
class Approve:
    """An action's `approve`: it is held until somebody says yes."""

    by: tuple[str, ...]  # `operator`, or names that people give
    within_seconds: float
    runs_otherwise: bool = False  # when nobody has said anything; else it is cancelled


@dataclass(frozen=True, slots=True)
class AuditRule:
    """A route's `audit`: how often its rows are compared with Stripe, and how many of them."""

    every_seconds: float
    share: float  # of the objects, from 0 to 1


@dataclass(frozen=True, slots=True)
class ActionUse:
    """One named action of a route.

    `settings` is the compiled `with`; its type belongs to `gateway.config`, and routing does not look at it.
    """

    name: str
    uses: str
    needs: tuple[str, ...]
    where: Where
    condition: Expression | None = None
    connection: str | None = None
    retry: RetryPolicy = RetryPolicy(20, 5.0, 4.0, 21600.0)
    timeout_seconds: float = 30.0
    settings: Any = None
    dry_run: bool = False
    otherwise: Mapping[str, Need] = field(default_factory=dict)  # how needs have to end that have not to succeed
    expires_seconds: float | None = None  # what is older is not sent any more
    approve: Approve | None = None
    later: Later | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Event patterns + a condition + named actions, in an order that respects `needs`."""

    name: str
    accounts: frozenset[str] | None  # None: every account
    events: tuple[str, ...]  # types or globs
    where: Where
    condition: Expression | None = None
    once_per: Expression | None = None
    order_by: Expression | None = None
    is_null_key_dead: bool = False  # an event for which one of the two is no key makes dead letters
    actions: tuple[ActionUse, ...] = ()
    connected_accounts: frozenset[str] = frozenset({OWN})  # ids, EVERY_CONNECTED, OWN
    fetch: Fetch | None = None
    dry_run: bool = False  # of every action
    is_enabled: bool = True
    description: str = ""
    owner: str = ""  # who answers for it
    digest: Digest | None = None
    audit: AuditRule | None = None
    debounce: Debounce | None = None  # by the value of order_by

    @property
    def why_disabled(self) -> str | None:
        """Why its deliveries are skipped; None where they are not."""
        return None if self.is_enabled else f"{DISABLED}route {self.name} says `enabled: false`"

    @property
    def until_events(self) -> tuple[str, ...]:
        """The types or globs of all events that cancel one of its actions."""
        untils = (action.later.until for action in self.actions if action.later is not None)
        return tuple(dict.fromkeys(pattern for until in untils if until is not None for pattern in until.events))

    def action(self, name: str) -> ActionUse | None:
        """The action of that name, or None."""
        for action in self.actions:  # asked at every claim: a generator costs more than what it walks
            if action.name == name:
                return action
        return None

    def needed_by(self, name: str) -> frozenset[str]:
        """The names of all that an action needs, directly or through others."""
        names: set[str] = set()
        todo = [name]
        while todo:
            action = self.action(todo.pop())
            for need in action.needs if action else ():
                if need not in names:
                    names.add(need)
                    todo.append(need)
        return frozenset(names)
