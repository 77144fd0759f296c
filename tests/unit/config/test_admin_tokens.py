"""`admin.tokens`: what `gateway check` says of scopes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admin.server import scopes_of
from gateway.config.diagnostics.problem import ConfigError
from gateway.config.load import Config, load
from gateway.core.model import Scope


def loaded(folder: Path, tokens: str, admin: str = "token: the-operators-own-token") -> Config:
    """A configuration with an account `acme`, a route `fulfil` and these tokens."""
    (folder / "gateway.yaml").write_text(
        f"version: 1\nadmin:\n  {admin}\n  tokens: {tokens}\n"
        "accounts: {acme: {signing_secrets: [whsec_abcdefghijklmnopqrst]}}\n"
        "connections: {hook: {type: http, url: 'https://hooks.example/in'}}\n"
        "routes: {fulfil: {events: [invoice.paid], actions: {tell: {uses: http_forward, with: {connection: hook}}}}}\n"
    )
    return load(folder / "gateway.yaml", {})


def test_a_scope_names_accounts_routes_or_both_and_reads_unless_it_may_act(tmp_path: Path) -> None:
    config = loaded(
        tmp_path, "{a: {token: aaaa, accounts: [acme, gateway]}, b: {token: bbbb, routes: [fulfil], may: act}}"
    )
    assert scopes_of(config.settings.admin) == {
        Scope("a", accounts=("acme", "gateway")): "aaaa",
        Scope("b", routes=("fulfil",), may_act=True): "bbbb",
    }
    assert {"aaaa", "bbbb"} <= config.hidden.keys()


@pytest.mark.parametrize(
    ("tokens", "code", "message", "hint"),
    [
        ("{a: {token: x, routes: [fulfl]}}", "scope", "no such route: fulfl", "did you mean fulfil?"),
        ("{a: {token: x, accounts: [acne]}}", "scope", "no such account: acne", "did you mean acme?"),
        ("{a: {token: x}}", "scope", "a has no scope: it would see everything",
         "say accounts or routes; for everything there are admin.token and admin.viewer_token"),
        ("{a: {token: '', routes: [fulfil]}}", "scope", "it is empty: whoever sends none would be let in", None),
        ("{Viewer: {token: x, routes: [fulfil]}}", "scope", "a token cannot be called Viewer: that is a role",
         "name it after the team"),
        ("{a: {token: the-operators-own-token, routes: [fulfil]}}", "same-token",
         "is the same as admin.token: nobody could tell which is meant", None),
        ("{a: {token: x, routes: [fulfil]}, b: {token: x, accounts: [acme]}}", "same-token",
         "is the same as admin.tokens.a: nobody could tell which is meant", None),
        ("{a: {token: x, routes: []}}", "invalid-value", "expected at least 1 of them, found a list", None),
        ("{a: {token: x, routes: [fulfil], may: write}}", "invalid-value", "expected 'read' or 'act', found something else",
         None),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_told(tmp_path: Path, tokens: str, code: str, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, tokens)
    (problem,) = refused.value.problems
    assert (problem.code, problem.message, problem.hint) == (code, message, hint)
