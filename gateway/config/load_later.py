"""An action's `after`, `at`, `during`, `still_if` and `until` -> what the engine goes by; and every problem in them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.config.action_settings import Compiling
from gateway.config.checks.lint import check_patterns
from gateway.config.checks.stripe_held import held_by
from gateway.config.checks.template_names import Offered
from gateway.config.diagnostics.problem import Problem
from gateway.config.schema.later import minutes_of
from gateway.config.schema.routes import ActionSettings, RouteSettings
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.errors import TemplateError, Where
from gateway.core.model import Expression, Later, Until
from gateway.plugin.types import duration_text
from gateway.templating.filters import timestamp

_LONE = re.compile(r"(\s*)\{\{(.*)\}\}(\s*)", re.DOTALL)
_LONGEST_NIGHT_MINUTES = 12 * 60
_KEYS = ("after", "at", "still_if", "until")


@dataclass(frozen=True, slots=True)
class _Moment:
    """An `at`."""

    inner: Expression

    @property
    def source(self) -> str:
        """The text as written, without braces."""
        return self.inner.source

    @property
    def where(self) -> Where:
        """Its place in the YAML."""
        return self.inner.where

    def prepare(self) -> None:
        """Compiles it now."""
        self.inner.prepare()

    def evaluate(self, scope: Mapping[str, Any]) -> datetime:
        """An aware UTC time. Raises TemplateError, also where it brings none."""
        value = self.inner.evaluate(scope)
        try:
            return timestamp(value)
        except ValueError as error:
            what = "is null" if value is None else f"is no time: {error}"
            message = f"{self.source}: `at` {what}; say `if:` on the route, so that it takes no such event"
            raise TemplateError(self.where, message) from None


@dataclass(frozen=True, slots=True)
class LaterLoading:
    """Makes what actions of one route wait for. Adds to `problems`."""

    source: Source
    compiling: Compiling
    problems: list[Problem]
    versions: tuple[str | None, ...] | None  # of Stripe's API, that events are of; None: fields are not checked
    retention_seconds: float

    def later(
        self, route: RouteSettings, at: Path_, action: ActionSettings, arrives: Offered, acts: Offered
    ) -> Later | None:
        """What an action waits for; None where it waits for nothing. `arrives` is what expressions may name when the
        event comes, `acts` when the time has come.
        """
        if all(getattr(action, key) is None for key in (*_KEYS, "during")):
            return None
        self.problems.extend(self._problems(route, at, action))
        written = next((key for key in ("after", "at") if getattr(action, key) is not None), None)
        text = None if action.at is None else _LONE.sub(r"\1  \2  \3", action.at)
        moment = None if text is None else self.compiling.expression(text, (*at, "at"), arrives)
        return Later(
            after_seconds=action.after,
            at=None if moment is None else _Moment(moment),
            during=None if action.during is None else action.during.rule(),
            still_if=self._expression((*at, "still_if"), action.still_if, acts),
            until=self._until(at, action, arrives),
            source="" if written is None else f"{written}: {_shown(action, written)}",
        )

    def _expression(self, at: Path_, text: str | None, offered: Offered) -> Expression | None:
        return None if text is None else self.compiling.expression(text, at, offered)

    def _until(self, at: Path_, action: ActionSettings, arrives: Offered) -> Until | None:
        if action.until is None:
            return None
        here = (*at, "until")
        self.problems.extend(check_patterns((*here, "events"), action.until.events, self.source))
        same = self._expression((*here, "same"), action.until.same, arrives)
        held = None if self.versions is None else held_by(tuple(action.until.events), None, self.versions)
        theirs_at = (*here, "same" if action.until.theirs is None else "theirs")
        other = dataclasses.replace(arrives, held=held, own_objects={}, thin_data=None)
        theirs = self._expression(theirs_at, action.until.theirs or action.until.same, other)
        return None if same is None or theirs is None else Until(tuple(action.until.events), same, theirs)

    def _problems(self, route: RouteSettings, at: Path_, action: ActionSettings) -> Iterator[Problem]:
        where: Callable[..., Where] = lambda *key: self.source.where_key((*at, *key))  # noqa: E731
        if action.after is not None and action.at is not None:
            message = "cannot stand beside after: each says by itself when the action acts"
            yield Problem(
                where("at"), message, "add to the time instead: {{ object.trial_end + 3 * 86400 }}", code="later"
            )
        if route.digest is not None:
            for key in _KEYS:
                if getattr(action, key) is not None:
                    message = "cannot stand beside digest: a digest brings many events at a time of its own"
                    yield Problem(where(key), message, "put the action into a route without digest", code="later")
        if action.still_if is not None and (route.fetch is None or not route.fetch.wanted) and route.digest is None:
            message = "would be judged by the event's own object, which does not change: it needs the route's fetch"
            yield Problem(where("still_if"), message, "add fetch: true to the route", code="later")
        if action.after is not None and action.after > self.retention_seconds:
            message = f"is longer than store.retention ({duration_text(self.retention_seconds)})"
            hint = "such an event is kept all the same until its action has acted"
            yield Problem(where("after"), message, hint, "warning", "later")
        for span in () if action.during is None else action.during.hours:
            begins, ends = minutes_of(span)
            if begins > ends and ends + 24 * 60 - begins > _LONGEST_NIGHT_MINUTES:
                first, _, last = span.partition("-")
                message = f"{span} goes past midnight and is more than half a day long"
                yield Problem(where("during", "hours"), message, f"did you mean {last}-{first}?", "warning", "later")


def _shown(action: ActionSettings, key: str) -> str:
    return duration_text(action.after) if key == "after" and action.after is not None else str(action.at).strip()
