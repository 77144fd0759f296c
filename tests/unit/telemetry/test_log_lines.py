"""The log's lines are JSON in printable ASCII without secrets, whatever letters and values stand in them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from gateway.config import runtime
from gateway.core.masking import Masker
from gateway.telemetry.logging import _console_event, _json_line, _without_secrets

SECRET = 'sk_live_"quoted"_ß'


@pytest.fixture(autouse=True)
def configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    maskers = Masker([SECRET]), Masker(["whsec_other"])
    monkeypatch.setattr(runtime, "_alive", [SimpleNamespace(config=SimpleNamespace(masker=m)) for m in maskers])


@pytest.mark.parametrize(
    "said",
    [
        "plain",
        f"it said {SECRET}",
        "it said whsec_other",
        {"inside": [SECRET, {"whsec_other": 1}]},
        "grün \u2028 \U0001f600",
        "a bell \x07 and a delete \x7f",
        "half of a pair \ud83d",
        float("nan"),
        datetime(2026, 11, 30, tzinfo=UTC),
        None,
        3,
    ],
)
def test_a_line_is_what_is_written_of_the_masked_event(said: Any) -> None:
    event = {"account": "acme", "error": said, "event": "delivery.retry", "level": "warning"}
    line = str(_json_line(None, "warning", dict(event)))
    plain = structlog.processors.JSONRenderer(ensure_ascii=True)
    assert line == plain(None, "warning", _without_secrets(None, "warning", dict(event)))
    assert line.isascii()
    assert line.isprintable()
    assert "sk_live" not in line
    assert "whsec_other" not in line


@pytest.mark.parametrize(
    "said", [PurePosixPath("/hooks/whsec_other"), ValueError("whsec_other"), {"of": {"whsec_other"}}]
)
def test_what_is_written_for_a_value_that_json_has_not_holds_no_secret_either(said: Any) -> None:
    line = str(_json_line(None, "info", {"event": "sent", "to": said}))
    shown = structlog.dev.ConsoleRenderer(colors=False)(
        None, "info", _console_event(None, "info", {"event": "sent", "to": said})
    )
    for written in (line, shown):
        assert "***" in written
        assert "whsec_other" not in written
