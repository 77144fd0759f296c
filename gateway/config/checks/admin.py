"""Who reaches the console: tokens that are there, differ from each other, and whose scopes name what there is."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gateway.config.diagnostics.problem import Problem
from gateway.config.schema.server import AdminSettings, ScopedTokenSettings
from gateway.config.schema.types import split_listen
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.internal_events import OWN_ACCOUNT
from gateway.core.spelling import did_you_mean

LOOPBACK = ("127.0.0.1", "::1", "localhost")
RESERVED = ("operator", "viewer", "nobody")  # what `approve.by` and the audit log call others


def check_admin(admin: AdminSettings, unfilled: Collection[str], source: Source) -> Iterator[Problem]:
    """Nobody but this machine reaches the console without a token, and each token is one person's or team's."""
    operator, viewer = admin.token.get_secret_value(), admin.viewer_token.get_secret_value()
    host, _ = split_listen(admin.listen)
    if not operator and host not in LOOPBACK:
        message = f"without admin.token only this machine may reach the console, not {host}"
        hint = "set admin.token, or listen on 127.0.0.1"
        yield Problem(source.where(("admin", "listen")), message, hint, code="open-console")
    if operator and operator == viewer:
        where = source.where(("admin", "viewer_token"))
        yield Problem(where, "is the same as admin.token: it would make operators of viewers", code="same-token")
    owners = {token: f"admin.{key}" for token, key in ((viewer, "viewer_token"), (operator, "token")) if token}
    for name, scoped in admin.tokens.items():
        yield from _check_scope(name, scoped, source)
        where, token = source.where(("admin", "tokens", name, "token")), scoped.token.get_secret_value()
        if not token.strip():
            if where.path not in unfilled:
                yield Problem(where, "it is empty: whoever sends none would be let in", code="scope")
        elif owners.setdefault(token, f"admin.tokens.{name}") != f"admin.tokens.{name}":
            yield Problem(where, f"is the same as {owners[token]}: nobody could tell which is meant", code="same-token")


def _check_scope(name: str, scoped: ScopedTokenSettings, source: Source) -> Iterator[Problem]:
    at: Path_ = ("admin", "tokens", name)
    if name.lower() in RESERVED:
        hint = "name it after the team"
        yield Problem(source.where_key(at), f"a token cannot be called {name}: that is a role", hint, code="scope")
    if scoped.accounts is None and scoped.routes is None:
        message = f"{name} has no scope: it would see everything"
        hint = "say accounts or routes; for everything there are admin.token and admin.viewer_token"
        yield Problem(source.where_key(at), message, hint, code="scope")
    accounts = {*source.section("accounts"), OWN_ACCOUNT}
    for key, names, known in (
        ("accounts", scoped.accounts, accounts),
        ("routes", scoped.routes, set(source.section("routes"))),
    ):
        for i, unknown in enumerate(names or ()):
            if unknown not in known:
                where = source.where((*at, key, i))
                yield Problem(where, f"no such {key[:-1]}: {unknown}", did_you_mean(unknown, known), code="scope")
