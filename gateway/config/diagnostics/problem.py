"""What is wrong with a configuration: where, what, and what would mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.core.errors import GatewayError, Where

Severity = Literal["error", "warning"]

CODES = {
    "action-settings": "what an action itself says of its `with`",
    "alias": "a YAML alias that leads into itself, or grows without bound",
    "approve": "an `approve` that nobody could answer, or an `admin.token` that is too short to sign its links",
    "api-key": "an api_key that does not look like one, or is of the other mode",
    "audit": "an audit of a route that keeps no rows, or of whose types Stripe lists no objects",
    "connection": "what a connection itself says of its settings",
    "constant": "a value that could never be sent, whatever the event",
    "cut-list": "a list of which Stripe sends ten entries at most, taken for the whole",
    "debounce": "something beside a route's `debounce` that gives a burst another key",
    "digest": "something beside a route's `digest` that asks for one event at a time",
    "duplicate-key": "a name that is there twice",
    "expires": "an `expires` that leaves no time for the first or the second attempt",
    "fetch": "a fetch that cannot be, or that brings nothing of what is asked of it",
    "include": "an include that names no file, or a file that holds what only gateway.yaml may",
    "invalid-value": "a value that is not one of those that are taken",
    "later": "an `after`, `at`, `during`, `still_if` or `until` that cannot be meant so",
    "missing-api-key": "a fetch, a reconcile or an audit for an account that has no key to ask Stripe with",
    "missing-key": "a key that must be there",
    "missing-package": "what needs a package that is not installed",
    "money": "`money` of what is no amount, or in another currency",
    "moved": "a field that newer versions of Stripe's API have elsewhere, or no more",
    "needs-cycle": "actions that wait for each other",
    "not-expanded": "a field of an object of which events hold the id alone",
    "null": "a field that may be null where null makes a dead letter, or a key that strangers share",
    "open-console": "a console that others than this machine may reach without a token",
    "organisation": "a route that takes none of the events of an organisation's accounts",
    "own-account": "an account with the name of the gateway's own, `gateway`",
    "own-fetch": "a fetch for the gateway's own events",
    "plugin": "a plugin that does not load",
    "previous": "a field of `previous` that most updates do not have",
    "same-connection": "two connections with the same settings",
    "same-listener": "the public and the admin listener at one address",
    "same-secret": "two accounts with the same signing secret",
    "same-token": "one token for two of the roles, or teams, of the console",
    "scope": "a token with a scope that names no account or route that there is, or nothing at all",
    "secret-file": "a ${file:...} that cannot be read",
    "shared-path": "more accounts than may share `POST /webhooks`, which is then closed",
    "signing-secret": "a signing secret that does not look like one",
    "stripe-field": "a field that Stripe's objects do not have",
    "stripe-ips": "a file with Stripe's addresses that is missing, is none, or is old",
    "stripe-method": "a method of Stripe's API that is not there, is not allowed, or is called otherwise",
    "stripe-value": "a comparison with a value that the field cannot have",
    "synchronous-event": "an event whose answer Stripe waits for",
    "template": "a template or an expression that does not compile",
    "template-file": "a template file that cannot be read",
    "template-name": "a name in a template that nothing brings",
    "thin-event": "a thin event, of which a route must say whether to fetch its object",
    "time": "`timestamp` or `datetime` of what is no time",
    "unknown-account": "an account that is not there",
    "unknown-action": "an action that is not there",
    "unknown-code": "a comment that ignores a code which there is not",
    "unknown-connection": "a connection that is not there",
    "unknown-event": "a pattern that matches no type of event that Stripe, or the gateway itself, has",
    "unknown-filter": "a filter or a test that Jinja does not have",
    "unknown-key": "a key that is not known at its place",
    "unknown-need": "needs an action that its route does not have",
    "unknown-route": "a case for a route that is not there",
    "unreachable-route": "a route that no event can reach",
    "unreadable": "a file that cannot be read",
    "unset-variable": "an environment variable that is not set",
    "untrusted-proxy": "allowed addresses where only a proxy posts, which is not trusted",
    "unused-account": "an account that no route takes events of",
    "unused-connection": "a connection that no action uses",
    "unused-ignore": "a comment that hides nothing",
    "variable": "a ${...} that is no variable",
    "workers": "several processes on an inbox that is of one",
    "wrong-connection": "a connection of another type than the action needs",
    "wrong-type": "a value of another type",
    "yaml": "what is no YAML, or YAML that means nothing here",
}
"""Every kind of problem. A code stays what it is: CI systems look for it."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A line of a file as it may be shown: secrets are masked. `start` and `width` are what to underline."""

    text: str
    start: int
    width: int


@dataclass(frozen=True, slots=True)
class ProblemNote:
    """Another place that belongs to a problem, such as where a name was `first`."""

    text: str
    where: Where
    excerpt: Excerpt | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong at one place. `code` is one of CODES."""

    where: Where
    message: str
    hint: str | None = None
    severity: Severity = "error"
    code: str = "invalid-value"
    notes: tuple[ProblemNote, ...] = ()
    excerpt: Excerpt | None = None

    def __str__(self) -> str:
        path = f" {self.where.path}:" if self.where.path else ""
        text = f"{self.where.file}:{self.where.line}:{self.where.column}:{path} {self.message}"
        text += f"\n    {self.hint}" if self.hint else ""
        for note in self.notes:
            text += f"\n    {note.text} at {note.where.file}:{note.where.line}:{note.where.column}"
        return text


class ConfigError(GatewayError):
    """A configuration that does not load, with every problem found: errors, and warnings besides."""

    def __init__(self, file: str, problems: Sequence[Problem], files: Iterable[Path] = ()) -> None:
        self.file = file
        self.files = frozenset(files)  # all that was read or looked for
        self.problems = in_order(file, problems)
        super().__init__("\n".join([f"{counted(self.problems)} in {file}", *map(_line, self.problems)]))


def _line(problem: Problem) -> str:
    return f"warning: {problem}" if problem.severity == "warning" else str(problem)


def in_order(file: str, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each once, in the order of the files; those of `file` first."""
    once = {(_place(problem), problem.message): problem for problem in reversed(list(problems))}
    not_yaml = {_place(problem) for problem in once.values() if problem.code == "yaml"}
    kept = [
        problem for problem in reversed(once.values()) if problem.code == "yaml" or _place(problem) not in not_yaml
    ]  # not what follows from it
    return tuple(sorted(kept, key=lambda problem: (problem.where.file != file, *_place(problem))))


def _place(problem: Problem) -> tuple[str, int, int]:
    return problem.where.file, problem.where.line, problem.where.column


def counted(problems: Sequence[Problem]) -> str:
    """`2 errors and 1 warning`."""
    words = []
    for severity in ("error", "warning"):
        count = sum(1 for problem in problems if problem.severity == severity)
        if count:
            words.append(f"{count} {severity}{'' if count == 1 else 's'}")
    return " and ".join(words) or "no problems"
