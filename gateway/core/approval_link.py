"""Links by which whoever has one says yes or no to one delivery: signed with a key made of the operator's token.

A link names a run and an action, so one delivery, and is good for as long as that waits for a yes: an answer, or a
time that is over, ends it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import re
from typing import Any, NamedTuple

PATH = "/approve/"
HIDDEN = "[link]"
EXAMPLE = "example"
_json = json.JSONEncoder(ensure_ascii=False).encode
_LINK = re.compile(r"Wy[IJ][A-Za-z0-9_-]{20,1000}(?:=|%3D){0,2}\.[0-9a-f]+")
"""The JSON of a list of texts, and all or part of a signature."""


class Asked(NamedTuple):
    """What a link is about."""

    event_id: str
    run_id: str
    action: str


def link_token(operator_token: str, asked: Asked) -> str:
    """The end of the link's address."""
    payload = base64.urlsafe_b64encode(json.dumps(asked).encode()).decode().rstrip("=")  # which URLs would encode
    return f"{payload}.{_sign(operator_token, payload)}"


def asked_by(operator_token: str, token: str) -> Asked | None:
    """What a link of ours is about; None of others."""
    payload, _, signature = token.rpartition(".")
    wanted = _sign(operator_token, payload)
    if not operator_token or not hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), wanted.encode()):
        return None
    return Asked(*json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


def _sign(operator_token: str, text: str) -> str:
    key = hashlib.sha256(f"gateway approval {operator_token}".encode()).digest()
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def has_link(text: str) -> bool:
    """Whether there is one in a text, or in a value whose JSON it is."""
    return _LINK.search(text) is not None


def without_links(value: Any) -> Any:
    """The same, without any link that could be followed, however its address is written: who may look may not decide.
    The very value where it has none.
    """
    with contextlib.suppress(TypeError, ValueError, RecursionError):  # one look at all: nearly nothing has any
        if not has_link(_json(value)):
            return value
    return _without_links(value)


def _without_links(value: Any) -> Any:
    if isinstance(value, str):
        return _LINK.sub(HIDDEN, value)
    if isinstance(value, dict):
        members = {key: _without_links(member) for key, member in value.items()}
        return members if any(members[key] is not member for key, member in value.items()) else value
    if isinstance(value, (list, tuple)):
        items = [_without_links(item) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value
