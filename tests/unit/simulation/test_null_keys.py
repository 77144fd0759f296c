"""What is no key, and that `explain` says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.core.keys import is_no_key
from gateway.simulation.explain import explain
from tests.contract.test_null_keys import NO_ONCE, NO_ORDER, an_order, config_of


async def test_explain_says_that_there_is_no_key(tmp_path: Path) -> None:
    config = config_of(tmp_path, "once_per: object.payment_intent\n    order_by: '[object.payment_intent, none]'")
    (explained,) = await explain(config, an_order(1, None))
    assert (explained.once_per, explained.order_by) == (None, None)
    assert (explained.actions[0].state, explained.actions[0].reason) == ("succeeded", f"{NO_ONCE}; {NO_ORDER}")
    (explained,) = await explain(config, an_order(1, "pi_1"))
    assert (explained.once_per, explained.order_by) == ("pi_1", ["pi_1", None])
    assert explained.actions[0].reason is None


@pytest.mark.parametrize(
    ("value", "is_none"),
    [
        (None, True),
        ("", True),
        (" ", True),
        ([], True),
        ([None, "", [None]], True),
        ({"a": None}, True),
        (0, False),
        (False, False),
        ("null", False),
        ([None, "acct_1"], False),
        ({"a": 0}, False),
    ],
)
def test_null_an_empty_text_and_lists_of_nothing_else_are_no_key(value: Any, is_none: bool) -> None:
    assert is_no_key(value) is is_none
