"""Tokens, cookies, CSRF and lock-out."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

from gateway.admin.auth import NOBODY, SESSION_SECONDS, Access, Grant, Role, csrf_is_good
from gateway.core.model import Scope

TOKENS = {Role.VIEWER: "the viewer's", Role.OPERATOR: "the operator's"}
NOW = 1_795_400_000.0


def test_each_token_is_its_role_and_others_are_nobodys() -> None:
    access = Access(TOKENS)
    assert access.grant_of("the viewer's", "::1", NOW).role is Role.VIEWER
    assert access.grant_of("the operator's", "::1", NOW).role is Role.OPERATOR
    for wrong in ("", "the", "the operator's ", "\udcff"):
        assert access.grant_of(wrong, "::1", NOW).role is Role.NOBODY


def test_a_cookie_says_role_and_name_until_it_ends() -> None:
    access = Access(TOKENS)
    cookie = access.cookie(Grant(Role.OPERATOR), "Jenny", NOW)
    person = access.person_of(cookie, NOW + SESSION_SECONDS - 1)
    assert (person.role, person.name) == (Role.OPERATOR, "Jenny")
    assert access.person_of(cookie, NOW + SESSION_SECONDS) == NOBODY
    assert "the operator's" not in cookie


def test_no_cookie_can_be_made_or_changed_without_the_token() -> None:
    access = Access(TOKENS)
    cookie = access.cookie(Grant(Role.VIEWER), "", NOW)
    payload, _, signature = cookie.rpartition(".")
    said = json.loads(base64.urlsafe_b64decode(payload))
    raised = base64.urlsafe_b64encode(json.dumps({**said, "role": 2}).encode()).decode()
    deep = base64.urlsafe_b64encode(b"[" * 100_000).decode()
    for wrong in (f"{raised}.{signature}", f"{payload}.", f"{payload}.é", "", ".", "a.b", cookie[:-1], f"{deep}.x"):
        assert access.person_of(wrong, NOW) == NOBODY
    assert Access({**TOKENS, Role.VIEWER: "another"}).person_of(cookie, NOW) == NOBODY
    assert Access({Role.OPERATOR: "the operator's"}).person_of(cookie, NOW) == NOBODY


def test_signing_out_ends_the_session_wherever_its_cookie_is() -> None:
    access = Access(TOKENS)
    cookie = access.cookie(Grant(Role.VIEWER), "", NOW)
    other = access.cookie(Grant(Role.VIEWER), "", NOW)
    access.end(access.person_of(cookie, NOW), NOW)
    assert access.person_of(cookie, NOW) == NOBODY
    assert access.person_of(other, NOW).role is Role.VIEWER


def test_guessing_locks_the_address_out_longer_each_time_and_nobody_else() -> None:
    access = Access(TOKENS)
    for _ in range(4):
        access.grant_of("wrong", "10.0.0.1", NOW)
    assert access.locked_seconds("10.0.0.1", NOW) == 0
    waits = []
    for _ in range(9):
        access.grant_of("wrong", "10.0.0.1", NOW)
        waits.append(access.locked_seconds("10.0.0.1", NOW))
    assert waits == [15, 30, 60, 120, 240, 480, 900, 900, 900]
    assert access.locked_seconds("10.0.0.2", NOW) == 0
    assert access.locked_seconds("10.0.0.1", NOW + 900) == 0
    assert access.grant_of("the viewer's", "10.0.0.1", NOW + 900).role is Role.VIEWER
    access.grant_of("wrong", "10.0.0.1", NOW + 901)
    assert access.locked_seconds("10.0.0.1", NOW + 901) == 0


def test_the_memory_of_guesses_is_bounded() -> None:
    access = Access(TOKENS)
    for number in range(10_500):
        access.grant_of("wrong", f"10.0.{number}", NOW)
    assert len(access._guesses) == 10_000


def test_csrf_holds_for_its_own_session_only() -> None:
    access = Access(TOKENS)
    one = access.person_of(access.cookie(Grant(Role.OPERATOR), "", NOW), NOW)
    other = access.person_of(access.cookie(Grant(Role.OPERATOR), "", NOW), NOW)
    assert csrf_is_good(one, one.csrf)
    for wrong in (None, "", other.csrf, one.csrf + "x", "é", "\udcff"):
        assert not csrf_is_good(one, wrong)
    assert not csrf_is_good(NOBODY, "")


SHOP = Scope("shop", routes=("fulfil",))


def test_a_token_with_a_scope_gives_that_scope_and_its_cookie_only_while_it_is_in_force() -> None:
    access = Access(TOKENS, {SHOP: "the shop's"})
    grant = access.grant_of("the shop's", "::1", NOW)
    assert grant == Grant(Role.VIEWER, SHOP)
    cookie = access.cookie(grant, "Jenny", NOW)
    assert access.person_of(cookie, NOW).scope == SHOP
    assert Access(TOKENS).person_of(cookie, NOW) == NOBODY
    assert Access(TOKENS, {SHOP: "another"}).person_of(cookie, NOW) == NOBODY
    wider = replace(SHOP, routes=(), accounts=("acme",), may_act=True)
    person = Access(TOKENS, {wider: "the shop's"}).person_of(cookie, NOW)
    assert (person.role, person.scope) == (Role.OPERATOR, wider)  # what it may is asked for each time


def test_a_cookie_of_a_scope_cannot_be_made_one_of_everything() -> None:
    access = Access(TOKENS, {SHOP: "the shop's"})
    payload, _, signature = access.cookie(Grant.of(SHOP), "", NOW).rpartition(".")
    said = json.loads(base64.urlsafe_b64decode(payload))
    del said["token"]
    whole = base64.urlsafe_b64encode(json.dumps(said).encode()).decode()
    assert access.person_of(f"{whole}.{signature}", NOW) == NOBODY
