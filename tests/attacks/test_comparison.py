"""Secrets are compared in a time that tells nothing of where they differ."""

from __future__ import annotations

import ast
import hmac
import inspect
import statistics
import time
from pathlib import Path
from types import ModuleType

import pytest

from gateway.admin import auth as access
from gateway.core.errors import SignatureError
from gateway.core.model import Account
from gateway.stripe import signature
from gateway.testing import signed_request

SECRET = "whsec_compared"
BODY = b'{"id": "evt_1", "object": "event"}'
ACCOUNT = Account("acme", (SECRET,), None, 300.0)


def refuse(header: str) -> None:
    with pytest.raises(SignatureError):
        signature.verify(BODY, header, ACCOUNT, time.time())


def test_signatures_are_compared_by_compare_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen at work: with another comparison in its place, a wrong signature is taken."""
    seen: list[tuple[object, object]] = []

    def equal(left: object, right: object) -> bool:
        seen.append((left, right))
        return True

    wrong = f"t={int(time.time())},v1={'0' * 64}"
    refuse(wrong)
    monkeypatch.setattr(hmac, "compare_digest", equal)
    signature.verify(BODY, wrong, ACCOUNT, time.time())
    assert len(seen) == 1


@pytest.mark.parametrize("module", [access])
def test_tokens_are_compared_by_compare_digest_only(module: ModuleType) -> None:
    """No `==` has a token, a signature or a CSRF value on either side."""
    tree = ast.parse(inspect.getsource(module))
    secret = {"token", "tokens", "given", "wanted", "signature", "csrf", "cookie", "payload"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(operator, (ast.Eq, ast.NotEq)) for operator in node.ops):
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            names |= {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
            assert not names & secret, ast.unparse(node)
    assert "compare_digest" in Path(module.__file__ or "").read_text()


def test_a_signature_wrong_at_its_end_takes_no_longer_than_one_wrong_at_its_start() -> None:
    """A comparison that stops at the first difference of 64 characters would differ by nanoseconds: what is caught here
    is the gross. By interleaved medians, with a bound of a half.
    """
    right = signed_request(BODY, SECRET)["Stripe-Signature"]
    last = "0" if right[-1] != "0" else "1"
    start = right.index("v1=") + 3
    first = "0" if right[start] != "0" else "1"
    early, late = right[:start] + first + right[start + 1 :], right[:-1] + last
    took: dict[str, list[float]] = {early: [], late: []}
    for _ in range(300):
        for header in (early, late):
            began = time.thread_time()
            for _ in range(5):
                try:
                    signature.verify(BODY, header, ACCOUNT, time.time())
                except SignatureError:
                    continue
                raise AssertionError("a wrong signature was taken")
            took[header].append(time.thread_time() - began)
    slow, fast = sorted((statistics.median(times) for times in took.values()), reverse=True)
    assert slow < fast * 1.5
