"""Half of a surrogate pair, which JSON can say and UTF-8 cannot, in the API's answers and in what it is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.admin.api.endpoints import json_bytes, value_of
from gateway.admin.problems import Refused


@pytest.mark.parametrize("text", ["plain", "Zoë", "half a pair \ud83d"])
def test_an_answer_says_what_the_event_said(text: str) -> None:
    assert json.loads(json_bytes(dict[str, Any], {"object": {"name": text}})) == {"object": {"name": text}}


def test_a_body_with_half_of_a_pair_is_refused_in_words() -> None:
    assert value_of(b'{"ids": ["dlv_1"]}') == {"ids": ["dlv_1"]}
    with pytest.raises(Refused, match=r"the body is not JSON: .*surrogates not allowed"):
        value_of(b'{"ids": ["\\ud83d"]}')
