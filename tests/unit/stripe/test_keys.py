"""What an API key tells of itself."""

from __future__ import annotations

import pytest

from gateway.stripe.keys import is_live_key, is_organisation_key


@pytest.mark.parametrize(
    ("key", "is_live", "is_organisation"),
    [
        ("sk_live_1", True, False),
        ("rk_test_1", False, False),
        ("sk_org_1", None, True),
        ("sk_org_live_1", True, True),
        ("sk_org_test_1", False, True),
        ("rk_org_test_1", False, True),
        ("sk_orgy_1", True, False),
    ],
)
def test_a_key_tells_its_mode_and_whether_it_is_an_organisation_s(
    key: str, is_live: bool | None, is_organisation: bool
) -> None:
    assert (is_live_key(key), is_organisation_key(key)) == (is_live, is_organisation)
