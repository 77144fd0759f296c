"""A null that a template cannot take is told with the path and what to write instead, and never printed as `None`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import TemplateError, Where
from gateway.templating.compiler import Templates

TEMPLATES = Templates(Path("."))
WHERE = Where("gateway.yaml", 7, 9, "p")
SCOPE: dict[str, Any] = {
    "object": {
        "trial_end": None, "amount": None, "currency": None, "name": None, "total": 1999, "lines": {"data": None},
        "address": ["Torstr. 1", None, "Berlin"], "parts": [{"sku": "a"}, {"sku": None}],
    },
}  # fmt: skip


def words(source: str) -> str:
    with pytest.raises(TemplateError) as caught:
        TEMPLATES.leaf(source, WHERE).render(SCOPE)
    return caught.value.message


@pytest.mark.parametrize(
    ("source", "instead"),
    [
        (
            "{{ object.trial_end | timestamp }}",
            "object.trial_end | timestamp if object.trial_end is not none else none",
        ),
        (
            "ends {{ object.trial_end | datetime('%d %B') }}",
            "object.trial_end | datetime('%d %B') if object.trial_end is not none else '...'",
        ),
        (
            "{{ object.amount | money('eur') }}",
            "object.amount | money('eur') if object.amount is not none else '...'",
        ),
        (
            "{{ object.total | money(object.currency) }}",
            "object.total | money(object.currency) if object.currency is not none else '...'",
        ),
        (
            "{{ object.amount | major_units('eur') }}",
            "object.amount | major_units('eur') if object.amount is not none else none",
        ),
        ("{{ object.amount / 100 }}", "(object.amount | default(0, true)) for it in object.amount / 100"),
        (
            "{{ object.total - object.amount }}",
            "(object.amount | default(0, true)) for it in object.total - object.amount",
        ),
        ("{{ -object.amount }}", "(object.amount | default(0, true)) for it in -object.amount"),
        ("{{ object.amount > 5 }}", "object.amount is not none and object.amount > 5"),
        ("{{ 'x' in object.name }}", "object.name is not none and 'x' in object.name"),
        ("{{ object.name | length }}", "object.name | length if object.name is not none else 0"),
        ("{{ object.name | int }}", "object.name | int if object.name is not none else 0"),
    ],
)
def test_what_to_write_where_a_value_is_null(source: str, instead: str) -> None:
    path = (
        "object.currency"
        if "currency)" in source
        else next(word for word in ("object.trial_end", "object.amount", "object.name") if word in source)
    )
    assert words(source) == f"{path} is null; write {instead}"
    assert TEMPLATES.leaf("{{ " + instead.partition(" for it in ")[0] + " }}", WHERE).render(SCOPE) in (
        None, 0, "...", False,
    )  # fmt: skip


def test_an_if_says_it_too() -> None:
    instead = "object.amount is not none and object.amount > 5"
    with pytest.raises(TemplateError, match=re.escape(f"object.amount is null; write {instead}")):
        TEMPLATES.expression("object.amount > 5 or object.total", WHERE).evaluate(SCOPE)


PRINTED = "; say what to print instead: | default('...', true)"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("Dear {{ object.name }}", f"object.name is null{PRINTED}"),
        (
            "Dear {{ object.name | default('') }}",
            f"object.name is null, and default without true is for what is missing{PRINTED}",
        ),
        ("Dear {{ object.name | title | trim }}", f"object.name is null{PRINTED}"),
        ("{{ object.name | upper }}", f"object.name is null{PRINTED}"),
        ("{% set x = object.name | upper %}{{ x }}", f"object.name is null{PRINTED}"),
        (
            "{% for line in object.lines.data %}{% endfor %}",
            "object.lines.data is null; a loop needs a list, such as | default([], true), in: {% for line in "
            "object.lines.data %}{% endfor %}",
        ),
        (
            "{{ object.address | join(', ') }}",
            "a null is in the list to join; | select | join(...) leaves out what is null or empty, in: "
            "{{ object.address | join(', ') }}",
        ),
        (
            "{{ object.parts | join(', ', 'sku') }}",
            "a null is in the list to join; | select | join(...) leaves out what is null or empty, in: "
            "{{ object.parts | join(', ', 'sku') }}",
        ),
    ],
)
def test_a_null_is_never_printed(source: str, message: str) -> None:
    assert words(source) == message


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Dear {{ object.name | default('customer', true) | title }}", "Dear Customer"),
        ("{{ object.address | select | join(', ') }}", "Torstr. 1, Berlin"),
        ("{{ object.parts | join(', ', 'sku') if false else 'x' }} y", "x y"),
        ("{{ 'a' if object.name | lower == 'gift' else 'b' }} y", "b y"),
    ],
)
def test_what_takes_a_null_goes_on(source: str, text: str) -> None:
    assert TEMPLATES.leaf(source, WHERE).render(SCOPE) == text
