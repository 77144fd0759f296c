"""Links by which people approve: in an address, and hidden from who may only look."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from gateway.core.approval_link import PATH, Asked, asked_by, link_token, without_links

ASKED = [Asked("evt_1OtBx2", f"dlv_{run:032x}", "a" * length) for run, length in ((0, 1), (1, 2), (2, 3), (3, 60))]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: str(len(asked.action)))
def test_a_link_says_what_it_asks_and_is_hidden_however_its_address_is_written(asked: Asked) -> None:
    token = link_token("operators-token", asked)
    assert asked_by("operators-token", token) == asked
    assert asked_by("another-token", token) is None
    url = f"https://gateway.example{PATH}{token}"
    for written in (url, quote(url), quote(url, safe=""), url.replace("/", "\\/"), f"<{url}>?a=b"):
        assert without_links({"with": [written, 7]}) == {"with": [written.replace(token, "[link]"), 7]}
    cut = f"said: {url[:-4]}"
    assert without_links(cut) == f"said: https://gateway.example{PATH}[link]"


def test_what_has_no_link_is_given_back_itself() -> None:
    value = {"text": f"https://gateway.example{PATH}example", "more": ["WyJub", "Wy" * 5000, None, 1.5]}
    assert without_links(value) is value
