"""Who may do what on the admin listener: tokens, signed cookies, CSRF, lock-out. Pure but for its own counters.

A cookie says a role, a name and an end, signed with a key that is made of that role's token: a new token signs
everybody out, a restart signs out nobody, and no cookie holds a token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from gateway.core.model import Scope

SESSION_SECONDS = 12 * 3600.0
FREE_GUESSES = 5  # wrong tokens from one address before it has to wait
FIRST_LOCK_SECONDS = 15.0  # doubled with each further wrong token
MOST_LOCK_SECONDS = 900.0
REMEMBERED_ADDRESSES = 10_000
NAME_CHARACTERS = 60


class Role(IntEnum):
    """What a person may do; each includes those before it."""

    NOBODY = 0  # not signed in
    VIEWER = 1  # sees everything
    OPERATOR = 2  # retries, cancels, replays

    @property
    def word(self) -> str:
        """As logs and pages show it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Person:
    """Who sends a request."""

    role: Role
    name: str = ""  # as the person gave it; it proves nothing
    scope: Scope | None = None  # of the token; None: it is for everything
    csrf: str = ""  # what a form must send; empty for a bearer, which no browser sends by itself
    session: str = ""  # names the cookie's session

    @property
    def word(self) -> str:
        """What they are, as logs and pages show it."""
        return self.role.word if self.scope is None else f"token {self.scope.name}"


NOBODY = Person(Role.NOBODY)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token gives."""

    role: Role
    scope: Scope | None = None

    @classmethod
    def of(cls, scope: Scope) -> Grant:
        """What a token with that scope gives."""
        return cls(Role.OPERATOR if scope.may_act else Role.VIEWER, scope)

    @property
    def word(self) -> str:
        """What its sessions are signed as."""
        return self.role.word if self.scope is None else f"of {self.scope.name}"


@dataclass(slots=True)
class _Guesses:
    wrong: int = 0
    locked_until: float = 0.0
    last_at: float = 0.0


@dataclass(slots=True)
class Access:
    """The tokens in force, and who guessed."""

    tokens: Mapping[Role, str] = field(repr=False)  # roles without a token are missing
    scoped: Mapping[Scope, str] = field(default_factory=dict, repr=False)  # the tokens of scopes
    _guesses: OrderedDict[str, _Guesses] = field(default_factory=OrderedDict)
    _ended: dict[str, float] = field(default_factory=dict)  # signed-out sessions, until they would have ended

    # -- tokens -----------------------------------------------------------------------------------------------

    def locked_seconds(self, address: str, now: float) -> float:
        """How long an address has to wait before its next token is looked at; 0: not at all."""
        guesses = self._guesses.get(address)
        return 0.0 if guesses is None else max(0.0, guesses.locked_until - now)

    def grant_of(self, token: str, address: str, now: float) -> Grant:
        """What a token gives; of nobody's the role NOBODY, and a guess noted. Ask `locked_seconds` first."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        grant = Grant(Role.NOBODY)
        for candidate, wanted in self._granted():
            if hmac.compare_digest(digest, hashlib.sha256(wanted.encode()).digest()):
                grant = candidate
        if grant.role is Role.NOBODY:
            self._note_guess(address, now)
        else:
            self._guesses.pop(address, None)
        return grant

    def _granted(self) -> Iterator[tuple[Grant, str]]:
        """Every token in force, with what it gives."""
        yield from ((Grant.of(scope), token) for scope, token in self.scoped.items())
        yield from ((Grant(role), token) for role, token in self.tokens.items())

    def _note_guess(self, address: str, now: float) -> None:
        guesses = self._guesses.setdefault(address, _Guesses())
        if now - guesses.last_at > MOST_LOCK_SECONDS:
            guesses.wrong = 0
        guesses.wrong += 1
        guesses.last_at = now
        if guesses.wrong >= FREE_GUESSES:
            doublings = min(guesses.wrong - FREE_GUESSES, 10)
            guesses.locked_until = now + min(MOST_LOCK_SECONDS, FIRST_LOCK_SECONDS * 2**doublings)
        self._guesses.move_to_end(address)
        while len(self._guesses) > REMEMBERED_ADDRESSES:
            self._guesses.popitem(last=False)

    # -- cookies ----------------------------------------------------------------------------------------------

    def cookie(self, grant: Grant, name: str, now: float) -> str:
        """A session's cookie. Of a scope it says the token's name: what that may is asked for each time."""
        said = {"role": grant.role.value, "name": name[:NAME_CHARACTERS], "end": now + SESSION_SECONDS}
        if grant.scope is not None:
            said["token"] = grant.scope.name
        said["id"] = secrets.token_hex(12)
        payload = base64.urlsafe_b64encode(json.dumps(said).encode()).decode()
        return f"{payload}.{self._sign(grant, payload)}"

    def person_of(self, cookie: str, now: float) -> Person:
        """Who a cookie speaks for; NOBODY where it is not ours, has ended, or its token is gone."""
        payload, _, signature = cookie.rpartition(".")
        try:
            said = json.loads(base64.urlsafe_b64decode(payload))
            role, name, end, session = Role(said["role"]), str(said["name"]), float(said["end"]), str(said["id"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return NOBODY
        grant = next((grant for grant, _ in self._granted() if _is_of(grant, role, said.get("token"))), None)
        if grant is None or not hmac.compare_digest(
            signature.encode("utf-8", "surrogateescape"), self._sign(grant, payload).encode()
        ):
            return NOBODY
        if end <= now or session in self._ended:
            return NOBODY
        return Person(grant.role, name, grant.scope, self._sign(grant, f"csrf {payload}"), session)

    def end(self, person: Person, now: float) -> None:
        """Signs a session out, wherever its cookie has been copied to."""
        self._ended = {session: until for session, until in self._ended.items() if until > now}
        self._ended[person.session] = now + SESSION_SECONDS

    def _sign(self, grant: Grant, text: str) -> str:
        token = self.tokens[grant.role] if grant.scope is None else self.scoped[grant.scope]
        key = hashlib.sha256(f"gateway session {grant.word} ".encode() + token.encode()).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _is_of(grant: Grant, role: Role, scope_name: object) -> bool:
    """Whether a cookie that says these is of that grant."""
    return grant.role is role if scope_name is None and grant.scope is None else _name_of(grant) == scope_name


def _name_of(grant: Grant) -> str | None:
    return None if grant.scope is None else grant.scope.name


def csrf_is_good(person: Person, token: str | None) -> bool:
    """Whether a form or request carries the token of its own session."""
    return bool(token) and hmac.compare_digest(person.csrf.encode(), (token or "").encode("utf-8", "surrogateescape"))
