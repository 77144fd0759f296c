"""Who may say yes to what waits for a person."""

from __future__ import annotations

import pytest

from gateway.admin.approving import _check
from gateway.admin.pausing import Actor
from gateway.admin.problems import Refused
from gateway.core.model import Approve

TOKENS = ("shop-team", "finance")


@pytest.mark.parametrize("name", ["operator", " Operator", "finance"])
def test_a_token_with_a_scope_is_nobody_else_by_calling_itself_so(name: str) -> None:
    actor = Actor("token shop-team", name, "127.0.0.1", "shop-team")
    with pytest.raises(Refused):
        _check(actor, Approve(("operator", "finance"), 60.0), TOKENS)
    _check(actor, Approve(("shop-team",), 60.0), TOKENS)


def test_the_operator_is_whoever_has_that_token_and_a_name_is_who_says_it() -> None:
    actor = Actor("operator", "anna", "127.0.0.1")
    _check(actor, Approve(("operator",), 60.0), TOKENS)
    _check(actor, Approve((" Anna",), 60.0), TOKENS)
    with pytest.raises(Refused, match="you are signed in as anna"):
        _check(actor, Approve(("ben",), 60.0), TOKENS)
