"""A null that an action does not take is told with its path and with what to write."""

from __future__ import annotations

import pytest

from actions.email import Email
from gateway.testing import Trial, make_event

SMTP = {"type": "smtp", "host": "127.0.0.1", "port": 1, "tls": "none", "from": "orders@acme.example"}
CURE = (
    "; object.customer_email is null: `if: object.customer_email` on the action skips it, and | default('...', true) "
    "says what to take instead"
)


@pytest.mark.parametrize(
    ("written", "kinds"),
    [
        ("{{ object.customer_email }}", "text or a list"),
        (["{{ object.customer_email }}"], "text"),
        ("{{ object.customer_email | default('') }}", "text or a list"),
    ],
)
async def test_a_mail_to_nobody(written: object, kinds: str) -> None:
    event = make_event("checkout.session.completed", object={"customer_email": None})
    given = {"to": written, "subject": "x", "text": "y"}
    async with Trial(Email(), given, connection=SMTP, event=event) as trial:
        result = await trial.attempt()
    assert result.state == "dead"
    assert str(result.error).endswith(f"expected {kinds}, found null{CURE}")
