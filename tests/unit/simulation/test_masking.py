"""Secrets are hidden wherever they turn up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.core.masking import Masker
from tests.configs import HEAD, ORDERS, loaded


def test_a_secret_is_hidden_in_texts_keys_and_lists() -> None:
    masker = Masker(["hunter2"])
    assert masker.mask({"a": ["x hunter2 y", 1, None, True], "hunter2": {"b": "hunter2"}}) == {
        "a": ["x *** y", 1, None, True],
        "***": {"b": "***"},
    }


def test_a_short_secret_is_hidden_where_it_stands_alone() -> None:
    assert Masker(["ab"]).mask(["ab", "about", "a b"]) == ["***", "about", "a b"]


def test_a_secret_number_is_hidden() -> None:
    assert Masker(["123456"]).mask([123456, 1234567]) == ["***", 1234567]


def test_a_value_that_holds_none_is_given_back_itself() -> None:
    value = {"a": ["about", 12, None, "d\u00e9j\u00e0"], "b": {}}
    assert Masker(["ab", "hunter2", "9"]).mask(value) is value


@pytest.mark.parametrize(
    "secret", ['d\u00e9j\u00e0 "vu"', 'q"uo\\te', "new\nline", "d\u00e9j\u00e0", "a\tb", "\u2028x", "1.5", '"', "7"]
)
def test_a_secret_is_found_whatever_json_makes_of_it(secret: str) -> None:
    masker = Masker([secret])
    assert masker.mask({"a": [secret]}) == {"a": ["***"]}
    assert masker.mask({secret: 1}) == {"***": 1}


@pytest.mark.parametrize("secret", ["d\u00e9j\u00e0 vu", 'q"uo\\te', "new\nline"])
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_a_secret_is_found_in_json_that_a_value_holds_as_text(secret: str, ensure_ascii: bool) -> None:
    answer = json.dumps({"said": secret}, ensure_ascii=ensure_ascii)
    assert Masker([secret]).mask({"body": answer}) == {"body": '{"said": "***"}'}


def test_a_secret_is_found_in_what_is_no_json() -> None:
    masker = Masker(["hunter2", "123456"])
    assert masker.mask({"a": {1, 2}, "b": "hunter2"}) == {"a": {1, 2}, "b": "***"}
    assert masker.mask({"a": float("nan"), "b": ("hunter2", 123456)})["b"] == ["***", "***"]


def test_a_longer_secret_goes_before_the_shorter_one_in_it() -> None:
    assert Masker(["secret", "secret-longer"]).mask("a secret-longer b") == "a *** b"


def test_every_secret_of_a_config_is_known(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("file-topsecret\n")
    vars_ = "vars: {a: '${API_TOKEN}', b: '${file:key}', c: '${REGION}'}\n"
    config = loaded(tmp_path, ORDERS + vars_, HEAD, API_TOKEN="env-topsecret", REGION="north-topsecret")
    masker = config.masker
    for secret in (
        "whsec_topsecret1",
        "whsec_topsecret2",
        "pass-topsecret",
        "mail-topsecret",
        "whsec_dG9wc2VjcmV0",
        "https://hooks.slack.example/topsecret3",
        "env-topsecret",
        "file-topsecret",
    ):
        assert masker.mask(f"<{secret}>") == "<***>", secret
    assert masker.mask("north-topsecret") == "north-topsecret"
