"""docs/receive.md and its vectors: the gateway signs as they say, and the code that is shown verifies it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.acceptance.harness import ROOT
from tests.docs import vectors
from tests.waiting import HANG_SECONDS

PAGE = (ROOT / "docs" / "receive.md").read_text()
NODE = ROOT / "tests" / "acceptance" / "node"
VECTORS: list[dict[str, Any]] = json.loads(vectors.FILE.read_text())


def shown(language: str) -> str:
    """The code of the page in a language."""
    [code] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(code)


def test_the_vectors_are_what_the_gateway_sends() -> None:
    assert vectors.FILE.read_text() == vectors.text(), "python -m tests.docs.vectors writes them"
    assert {vector["valid"] for vector in VECTORS} == {True, False}


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_a_vector_is_right_by_what_the_page_says_of_signatures(vector: dict[str, Any]) -> None:
    headers, body = vector["headers"], vector["body"].encode()
    if vector["scheme"] == "standard":
        key = base64.b64decode(vector["secret"].removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        fits = wanted in headers["webhook-signature"].split(" ")
    else:
        (_, at), *sent = (part.split("=", 1) for part in headers["stripe-signature"].split(","))
        digest = hmac.new(vector["secret"].encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        fits = digest in [value for _, value in sent]
    assert fits == vector["valid"]


def request(vector: dict[str, Any]) -> tuple[dict[str, str], str]:
    """The same signed just now, as far as it was signed: libraries refuse what is old."""
    headers = dict(vector["headers"])
    now = datetime.now(UTC)
    signer = vector["secret"] if vector["valid"] else vectors.SECRET
    original = vector["body"] if vector["valid"] else vectors.EVENT
    headers["webhook-timestamp"] = str(int(now.timestamp()))
    fresh = Webhook(signer).sign(headers["webhook-id"], now, original)
    headers["webhook-signature"] = f"v1,bm90aGluZw== {fresh}"
    return headers, vector["body"]


Case = tuple[str, dict[str, str], str]


def by_python(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    statuses = []
    for secret, headers, body in cases:
        monkeypatch.setenv("GATEWAY_SECRET", secret)
        names: dict[str, Any] = {}
        exec(compile(shown("python"), "receive.md", "exec"), names)
        status, event = names["receive"](body.encode(), headers)
        assert (event is None) == (status != 200)
        statuses.append(status)
    return statuses


def by_node(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / "standardwebhooks").is_dir():
        assert not os.environ.get("CI"), "CI installs node and tests/acceptance/node"
        pytest.skip("needs node, and `npm install` in tests/acceptance/node")
    each = "console.log(receive(body, headers).status)"
    code = "".join(
        f"{{ process.env.GATEWAY_SECRET = {json.dumps(secret)};\n{shown('js')}\n"
        f"const [headers, body] = {json.dumps([headers, body])}; {each} }}\n"
        for secret, headers, body in cases
    )
    done = subprocess.run(
        [node, "-e", code], cwd=NODE, capture_output=True, text=True, check=True, timeout=HANG_SECONDS
    )
    return list(map(int, done.stdout.split()))


@pytest.mark.parametrize("by", [by_python, by_node])
def test_the_code_that_is_shown_takes_what_is_the_gateways_and_nothing_else(
    by: Callable[[list[Case], pytest.MonkeyPatch], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [vector for vector in VECTORS if vector["scheme"] == "standard" and vector["body"].startswith("{")]
    cases: list[Case] = [(vector["secret"], *request(vector)) for vector in events]
    expected = [200 if vector["valid"] else 400 for vector in events]
    secret, headers, body = cases[0]
    cases.append((secret, events[0]["headers"], body))  # signed long ago
    cases.append((secret, {**headers, "webhook-signature": "nonsense"}, body))
    cases.append((secret, {"webhook-id": headers["webhook-id"]}, body))
    assert by(cases, monkeypatch) == [*expected, 400, 400, 400]
