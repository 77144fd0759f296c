"""What is fuzzed: each takes any bytes, and raises where a promise is broken. For atheris and for hypothesis."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from gateway.config.diagnostics.problem import ConfigError
from gateway.config.load import load
from gateway.core.envelope import parse_event, parse_json
from gateway.core.errors import EnvelopeError, SignatureError, TemplateError, Where
from gateway.core.model import Account
from gateway.stripe.signature import signed_at, verify
from gateway.templating.compiler import Templates

ACCOUNT = Account("acme", ("whsec_fuzzed", "whsec_older"), None, 300.0)
SCOPE = {"object": {"id": "cs_1", "items": {"data": [1, 2]}, "amount": 5, "name": None}, "event": {"type": "a.b"}}
LONGEST_SECONDS = 20.0
_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz")


def signature(data: bytes) -> None:
    """No header that we did not sign is taken, and each is refused by a SignatureError or an EnvelopeError."""
    header, _, body = data.partition(b"\n")
    text = header.decode("latin-1")
    signed_at(text)
    try:
        verify(body, text, ACCOUNT, 1_800_000_000.0)
    except (SignatureError, EnvelopeError):
        return
    raise AssertionError("a forged signature was taken")


def envelope(data: bytes) -> None:
    """Any body is an event with an id and a type, or an EnvelopeError."""
    with contextlib.suppress(EnvelopeError):
        event = parse_event(data, "acme", datetime(2026, 1, 1, tzinfo=UTC))
        assert 0 < len(event.id) <= 255
        assert 0 < len(event.type) <= 255
        assert parse_json(data)["id"] == event.id


def yaml(data: bytes) -> None:
    """Any file loads, or is a ConfigError whose problems have a place in it and a message of one line."""
    path = Path(_FOLDER.name) / "gateway.yaml"
    path.write_bytes(data)
    problems = None
    try:
        load(path, {})
    except ConfigError as error:
        problems = error.problems
    assert problems is None or problems
    for problem in problems or ():
        assert problem.where.line >= 1
        assert problem.message
        assert "Traceback" not in problem.message


def template(data: bytes) -> None:
    """Any text renders to a JSON value, or is a TemplateError, soon."""
    source = data.decode("utf-8", "replace")
    began = time.thread_time()
    with contextlib.suppress(TemplateError):
        value = Templates(Path(_FOLDER.name)).leaf(source, Where("f", 1, 1, "p")).render(SCOPE)
        json.dumps(value, default=str)
    with contextlib.suppress(TemplateError):
        Templates(Path(_FOLDER.name)).expression(source, Where("f", 1, 1, "p")).evaluate(SCOPE)
    assert time.thread_time() - began < LONGEST_SECONDS


TARGETS = {"signature": signature, "envelope": envelope, "yaml": yaml, "template": template}
SEEDS = {
    "signature": [b"t=1800000000,v1=" + b"0" * 64 + b"\n{}", b"t=1,t=2,v0=a,v1=\xff\n", b"t=\xb2,v1=a"],
    "envelope": [
        b'{"id":"evt_1","object":"event","type":"a.b","created":1,"livemode":false,"data":{"object":{"id":"x"}}}',
        b'{"id":"evt_1","object":"v2.core.event","type":"v1.a","created":"2026-01-01T00:00:00Z"}',
    ],
    "yaml": [
        b"version: 1\naccounts: {acme: {signing_secrets: [whsec_a]}}\n",
        b"version: 1\naccounts: &a\n  acme: {signing_secrets: ['${A:-whsec_a}'], <<: *a}\nroutes:\n"
        b"  r:\n    events: [a.*]\n    if: object.a == 1\n    "
        b"actions: {s: {uses: slack, with: {connection: t, text: '{{ object.id }}'}}}\n",
    ],
    "template": [
        b"{{ object.items.data[0] | default('a', true) ~ [1, 2] | join(',') }}",
        b"{% for a in range(9) %}{% set n = namespace(x=[a]) %}{{ n.x * 3 == [a] }}{% endfor %}{{ '%s' % object }}",
        b"{% macro m(x) %}{{ x | tojson(indent=2) }}{% endmacro %}{{ m({'a': object}) }}",
    ],
}
