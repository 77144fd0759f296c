"""What a destination said goes into an error on one line, cut, and without secrets, also where the cut goes through."""

from __future__ import annotations

import pytest

from gateway.core.masking import Masker
from gateway.plugin import quoted
from gateway.plugin.quoting import hiding

SECRET = "sk_live_0123456789"


@pytest.mark.parametrize("before", range(25))
def test_nothing_of_a_secret_is_left_wherever_the_cut_falls(before: int) -> None:
    with hiding(Masker([SECRET]).mask):
        told = quoted("." * before + SECRET + "\nand more", 20)
    assert "sk_l" not in told
    assert len(told) <= 20


def test_it_is_one_line_of_printable_characters() -> None:
    assert quoted(" no\r\n\x1b[31msuch   thing\x00 ", 80) == "no [31msuch thing"


def test_once_the_block_has_ended_nothing_is_hidden() -> None:
    with hiding(Masker([SECRET]).mask):
        pass
    assert quoted(SECRET, 80) == SECRET
