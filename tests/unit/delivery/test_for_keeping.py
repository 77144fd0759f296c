"""What is kept of a delivery's values: whole and without secrets, whichever way they are looked at."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.config.load import Config
from gateway.core.approval_link import Asked, link_token
from gateway.core.masking import Masker
from gateway.core.model import Attempt, AttemptOutcome, DeliveryState, Finish
from gateway.delivery.attempt import AttemptResult
from gateway.delivery.kept_values import for_keeping
from gateway.store.keeping import OUTPUT_BYTES, KeptText, kept_json

SECRET = 'sk_live_"quoted"_ß'
LINK = f"https://ops.example/approve/{link_token('a token', Asked('evt_1', 'run_1', 'ship'))}"
CONFIG = cast(Config, SimpleNamespace(references=Masker({SECRET: "${STRIPE_KEY}"})))


def kept(rendered: Any, output: Any) -> tuple[Any, Any]:
    attempt = Attempt(1, datetime(2026, 11, 30, tzinfo=UTC), 0.1, AttemptOutcome.SUCCEEDED)
    ending = Finish(DeliveryState.SUCCEEDED, attempt, "why", 2.0, rendered=rendered, output=output)
    ended = AttemptResult(ending, 3.0, is_failure=True, is_unreached=True)
    result = for_keeping(ended, CONFIG)
    assert isinstance(result.ending, Finish)
    assert result == replace(ended, ending=ending.with_values(result.ending.rendered, result.ending.output))
    return result.ending.rendered, result.ending.output


def test_what_hides_nothing_is_written_once() -> None:
    rendered, output = kept({"url": "/x"}, {"body": "grün", "n": 12})
    assert isinstance(rendered, KeptText)
    assert isinstance(output, KeptText)
    assert (json.loads(rendered), json.loads(output)) == ({"url": "/x"}, {"body": "grün", "n": 12})
    assert kept(None, {}) == (None, "{}")


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"body": f"echo {SECRET}"}, {"body": "echo ${STRIPE_KEY}"}),
        ({"list": [{SECRET: 1}]}, {"list": [{"${STRIPE_KEY}": 1}]}),
        ({"to": PurePosixPath(f"/hooks/{SECRET}"), "n": 1}, {"to": "/hooks/${STRIPE_KEY}", "n": 1}),
        ({"body": f"go to {LINK}"}, {"body": "go to https://ops.example/approve/[link]"}),
    ],
)
def test_a_secret_or_a_link_is_hidden_in_either_value(told: Any, shown: Any) -> None:
    rendered, output = kept(told, None)
    assert (json.loads(kept_json(rendered) or ""), output) == (shown, None)
    rendered, output = kept({"plain": True}, told)
    assert json.loads(kept_json(output) or "") == shown


def test_what_is_to_be_cut_is_cut_after_its_secrets_are_hidden() -> None:
    begins = "x" * (OUTPUT_BYTES // 4 - 20)
    _, output = kept(None, {"body": begins + SECRET + "y" * OUTPUT_BYTES})
    text = kept_json(output) or ""
    assert json.loads(text)["cut"] is True
    assert "sk_live" not in text


def test_what_json_cannot_say_is_said_in_words() -> None:
    _, output = kept(None, {"half": "\ud800", "much": float("inf"), "key": SECRET})
    assert json.loads(kept_json(output) or "") == {"half": "\ud800", "much": "inf", "key": "${STRIPE_KEY}"}
