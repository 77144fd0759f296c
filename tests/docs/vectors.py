"""docs/vectors.json: signed requests for who verifies them by other means. `python -m tests.docs.vectors` writes it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from actions.http_request import headers_and_body
from gateway.plugin import Context, HttpConnection
from tests.acceptance.harness import ROOT

FILE = ROOT / "docs" / "vectors.json"
SECRET, OLD = "whsec_dGhlIHNlY3JldCBvZiB0aGUgdmVjdG9ycywgbmV3ZXI=", "whsec_dGhlIHNlY3JldCBvZiB0aGUgdmVjdG9ycywgb2xkZXI="
OTHER = "whsec_YSBzZWNyZXQgdGhhdCBub2JvZHkgb2YgdXMgaGFzIQ=="
SIGNED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EVENT = '{"id": "evt_1", "object": "event", "data": {"object": {"amount": 1999, "name": "Zoë ✓"}}}'
_VECTORS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("an event", {}),
    ("while the secret is rolled: the first signature is by the newer one", {"secrets": [SECRET, OLD]}),
    ("while the secret is rolled, for who has the older one", {"secrets": [SECRET, OLD], "known": OLD}),
    ("an empty body, as of a GET", {"method": "GET"}),
    ("a form", {"form": {"order": "cs_1", "tag": ["a&b", "ü"]}}),
    ("Stripe's signature", {"scheme": "stripe"}),
    ("Stripe's signature while the secret is rolled", {"scheme": "stripe", "secrets": [SECRET, OLD], "known": OLD}),
    ("another body", {"altered": EVENT.replace("1999", "1")}),
    ("a body that was parsed and written anew", {"altered": json.dumps(json.loads(EVENT))}),
    ("another secret", {"known": OTHER}),
    ("Stripe's signature of another body", {"scheme": "stripe", "altered": EVENT.replace("1999", "1")}),
)


def vectors() -> list[dict[str, Any]]:
    """What the gateway sends."""
    return [_vector(name, **how) for name, how in _VECTORS]


def _vector(
    name: str,
    *,
    scheme: str = "standard",
    secrets: list[str] | None = None,
    known: str = SECRET,
    method: str = "POST",
    form: dict[str, Any] | None = None,
    altered: str | None = None,
) -> dict[str, Any]:
    settings: dict[str, Any] = {"type": "http", "url": "https://shop.example/", "signature": scheme}
    settings["signing_secret"] = secrets or [SECRET]
    context = SimpleNamespace(
        connection=HttpConnection.model_validate(settings),
        body=EVENT.encode(),
        delivery_id="dlv_0001",
        event=json.loads(EVENT),
        now=lambda: SIGNED_AT,
    )
    headers, body = headers_and_body(cast(Context, context), method, None, form, {})
    lower = {key.lower(): value for key, value in headers.items()}
    signed = {key: value for key, value in lower.items() if "webhook" in key or "signature" in key}
    return {
        "name": name,
        "scheme": scheme,
        "secret": known,
        "headers": signed,
        "body": body.decode() if altered is None else altered,
        "valid": altered is None and known in (secrets or [SECRET]),
    }


def text() -> str:
    """The file's."""
    return json.dumps(vectors(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
