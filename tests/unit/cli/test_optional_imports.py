"""What a gateway that serves does not load, though libraries would."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.cli.optional_imports import hidden

SERVE = """
import sys
from gateway.cli.optional_imports import hidden
with hidden("requests", "greenlet", "colorama", "rich"):
    import gateway.app.gateway, actions.email
loaded = [name for name in ("requests", "greenlet", "colorama", "rich", "urllib3", "aiosmtplib") if name in sys.modules]
import requests, rich, stripe
print(loaded, bool(requests.Session and rich.print and stripe.AIOHTTPClient))
"""


def test_what_is_hidden_is_not_found_until_it_is_shown_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with hidden("colorsys"), pytest.raises(ModuleNotFoundError):
        import colorsys
    import colorsys

    with hidden("colorsys"):
        import colorsys as again  # loaded already: it stays
    assert again is colorsys is sys.modules["colorsys"]


def test_the_gateway_is_loaded_without_what_only_libraries_want() -> None:
    done = subprocess.run([sys.executable, "-c", SERVE], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] True"
