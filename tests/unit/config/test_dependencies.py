"""The order of actions by what they need."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from gateway.config.checks.dependencies import in_order_of_needs
from gateway.config.load import load
from gateway.config.yaml.document import Source


@pytest.mark.parametrize(
    ("needs", "ordered", "circles"),
    [
        ({"a": [], "b": []}, ["a", "b"], []),
        ({"a": ["b"], "b": ["c"], "c": []}, ["c", "b", "a"], []),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, ["d", "b", "c", "a"], []),
        ({"a": ["none"]}, ["a"], []),
        ({"a": ["a"]}, [], [("a", "a")]),
        ({"a": ["b"], "b": ["a"], "c": []}, ["c"], [("a", "b", "a")]),
        ({"x": ["a"], "a": ["b"], "b": ["a"], "c": ["c"]}, ["x"], [("a", "b", "a"), ("c", "c")]),
    ],
)
def test_each_stands_after_what_it_needs(
    needs: dict[str, list[str]], ordered: list[str], circles: list[tuple[str, ...]]
) -> None:
    assert in_order_of_needs(needs) == (ordered, circles)


def test_a_long_chain_is_no_matter() -> None:
    chain = {str(i): [str(i + 1)] for i in range(5000)}
    assert in_order_of_needs(chain) == ([str(i) for i in range(4999, -1, -1)], [])


def test_what_was_read_is_let_go_once_a_configuration_is_made(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "version: 1\naccounts: {a: {signing_secrets: [whsec_a]}}\nconnections: {c: {type: http, url: https://c.example}}\n"
        "routes: {r: {events: [charge.refunded], if: object.x, actions: {s: {uses: http_forward, with: "
        "{connection: c, body: '{{ object.id }}'}}}}}\n"
    )
    gc.collect()
    gc.disable()
    try:
        config = load(tmp_path / "gateway.yaml", {})
        assert not [one for one in gc.get_objects() if isinstance(one, Source)]
        assert config.routes
    finally:
        gc.enable()
