"""`gateway check` knows the data of thin events: that it is not posted, and its fields once it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.diagnostics.problem import ConfigError
from gateway.config.load import load

METER, CUSTOMER = "v1.billing.meter.error_report_triggered", "v1.customer.created"
CONFIG = """\
version: 1
accounts: {acme: {signing_secrets: [whsec_0123456789abcdef0123], api_key: rk_test_0123456789abcdef}}
connections: {hook: {type: http, url: "https://shop.example"}}
routes:
  r:
    events: [%s]
    fetch: %s
    if: "%s"
    actions: {a: {uses: http_forward, with: {connection: hook, body: "{{ %s }}"}}}
"""


def said(folder: Path, events: str, fetch: str, condition: str, expression: str) -> list[tuple[str, str | None]]:
    path = folder / "gateway.yaml"
    path.write_text(CONFIG % (events, fetch, condition, expression))
    try:
        problems = load(path, {}, checks_fields=True).warnings
    except ConfigError as error:
        problems = error.problems
    return [(problem.message, problem.hint) for problem in problems if problem.code == "template-name"]


NOT_POSTED = "a thin event is posted without its data"


@pytest.mark.parametrize(
    ("events", "fetch", "expression", "told"),
    [
        (METER, "true", "event.data.reason", [(NOT_POSTED, "fetch: {event: true} brings it")]),
        (METER, "false", "event.data", [(NOT_POSTED, "fetch: {event: true} brings it")]),
        (METER, "{event: true}", "event.data.reason.error_count", []),
        (
            METER,
            "{event: true}",
            "event.data.developer_summary",
            [("event.data has no developer_summary in these events", "did you mean developer_message_summary?")],
        ),
        (
            METER,
            "{event: true}",
            "event.data.reson",
            [("event.data has no reson in these events", "did you mean reason?")],
        ),
        (METER, "true", "event.data.reason | default('')", []),
        (CUSTOMER, "{event: true}", "event.data.anything", []),
        (f"{METER}, customer.created", "true", "event.data.object.id", []),
    ],
)
def test_the_data_of_a_thin_event(
    tmp_path: Path, events: str, fetch: str, expression: str, told: list[tuple[str, str | None]]
) -> None:
    assert said(tmp_path, events, fetch, "true", expression) == told


def test_a_route_s_own_condition_is_judged_without_it(tmp_path: Path) -> None:
    assert said(tmp_path, METER, "{event: true}", "event.data.reason", "event.data.reason") == [
        (NOT_POSTED, "it is known in actions, with fetch: {event: true}")
    ]
