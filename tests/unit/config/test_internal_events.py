"""What `gateway check` says of routes with own events, and of digests."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.diagnostics.problem import ConfigError
from gateway.core.model import Digest
from tests.configs import HEAD, loaded

ROUTE = """\
routes:
  all: {events: ["*"], actions: {note: {uses: slack, with: {connection: team, text: all}}}}
  alerts:
    events: [gateway.connection.paused, gateway.reload.failed]
    actions:
      tell: {uses: slack, with: {connection: team, text: "TEXT"}}
"""


def problems(folder: Path, routes: str, head: str = HEAD) -> list[tuple[str, str, str | None]]:
    """Severity, message and hint of each problem with the routes."""
    unused = ("unused-connection",)
    try:
        found = loaded(folder, routes, head).warnings
    except ConfigError as error:
        found = error.problems
    return [(one.severity, one.message, one.hint) for one in found if one.code not in unused]


def text(value: str) -> str:
    return ROUTE.replace("TEXT", value)


def test_fields_of_own_objects_are_known(tmp_path: Path) -> None:
    assert problems(tmp_path, text("{{ object.summary }} {{ object.reason | default('') }}")) == []


def test_a_field_that_no_own_event_of_the_route_has_is_an_error(tmp_path: Path) -> None:
    assert problems(tmp_path, text("{{ object.sumary }}")) == [
        ("error", "none of these events has object.sumary", "did you mean summary?")
    ]


def test_a_field_that_some_own_events_lack_is_a_warning(tmp_path: Path) -> None:
    assert problems(tmp_path, text("{{ object.reason }}")) == [
        (
            "warning",
            "object.reason is missing in gateway.reload.failed: a dead letter for each",
            "say `if: event.type == ...`, or write object.reason | default(...); every own event has object.summary",
        )
    ]


def test_fields_are_not_judged_where_a_route_also_takes_stripes_events(tmp_path: Path) -> None:
    mixed = text("{{ object.amount }}").replace("gateway.reload.failed", "invoice.paid")
    assert problems(tmp_path, mixed) == []


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("gateway.delivery.died", "did you mean gateway.delivery.dead?"),
        ("gateway.conection.*", "did you mean gateway.connection.*?"),
    ],
)
def test_a_near_miss_of_a_type_is_a_warning(tmp_path: Path, pattern: str, hint: str) -> None:
    routes = text("x").replace("gateway.reload.failed", pattern)
    assert problems(tmp_path, routes) == [("warning", f"the gateway has no event type {pattern}", hint)]


def test_an_account_cannot_have_the_name_of_the_gateway(tmp_path: Path) -> None:
    head = HEAD.replace("  live:", "  gateway:")
    assert problems(tmp_path, text("x"), head) == [
        ("error", "an account cannot be called gateway: the gateway's own events belong to that one",
         "choose another name")
    ]  # fmt: skip


def test_a_route_may_name_the_account_of_own_events(tmp_path: Path) -> None:
    assert (
        problems(tmp_path, text("x").replace("    events: [gateway", "    accounts: [gateway]\n    events: [gateway"))
        == []
    )


def test_a_route_for_alerts_is_none_for_an_accounts_events(tmp_path: Path) -> None:
    routes = text("x").replace('events: ["*"]', 'accounts: [acme], events: ["*"]')
    assert problems(tmp_path, routes) == [
        ("warning", "no route takes events of this account", "name it in the accounts of a route")
    ]


def test_own_events_cannot_be_fetched(tmp_path: Path) -> None:
    routes = text("x").replace("gateway.reload.failed]", "gateway.reload.failed]\n    fetch: true")
    message = "{} is the gateway's own: there is nothing to fetch from Stripe"
    assert problems(tmp_path, routes) == [
        ("error", message.format(one), "give it a route of its own, without fetch")
        for one in ("gateway.connection.paused", "gateway.reload.failed")
    ]


def test_a_digest_has_events_and_a_count_and_others_have_not(tmp_path: Path) -> None:
    said = text("{{ count }} {{ events[0].type }}")
    assert problems(tmp_path, said) == [
        ("error", f"there is no name {name} here", "only the actions of a route with digest have it")
        for name in ("count", "events")
    ]
    assert problems(tmp_path, said.replace("  alerts:\n", "  alerts:\n    digest: 5m\n")) == []


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("once_per: object.id", "a digest brings many events, not one value"),
        ("order_by: object.id", "a digest already brings its events in order of arrival"),
        ("fetch: true", "a digest brings many events, and no one object"),
    ],
)
def test_a_digest_leaves_no_room_for_what_asks_for_one_event(tmp_path: Path, key: str, message: str) -> None:
    routes = text("x").replace("  all: {", f"  all: {{digest: 5m, {key}, ")
    assert problems(tmp_path, routes) == [("error", f"cannot stand beside digest: {message}", None)]


def test_a_digest_leaves_no_room_for_needs(tmp_path: Path) -> None:
    routes = text("x").replace("  alerts:\n", "  alerts:\n    digest: 5m\n")
    routes += "      again: {uses: slack, needs: [tell], with: {connection: team, text: x}}\n"
    assert problems(tmp_path, routes) == [
        ("error", "cannot stand beside digest: each action gathers its own events",
         "put the two actions into two routes")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "every", "wait"),
    [
        ("5m", 300.0, 30.0),
        ("10s", 10.0, 10.0),
        ("{every: 1h, wait: 1m}", 3600.0, 60.0),
        ("{every: 1m, wait: 0s}", 60, 0),
    ],
)
def test_a_digest_is_a_duration_or_says_more(tmp_path: Path, given: str, every: float, wait: float) -> None:
    config = loaded(tmp_path, text("x").replace("  alerts:\n", f"  alerts:\n    digest: {given}\n"))
    assert config.routes[1].digest == Digest(every, wait)
    assert config.routes[1].actions[0].retry.max_seconds == min(every, 21600.0)


def test_a_digests_own_retry_max_is_kept(tmp_path: Path) -> None:
    routes = (
        text("x").replace("  alerts:\n", "  alerts:\n    digest: 5m\n").replace("tell: {", "tell: {retry: {max: 1h}, ")
    )
    assert loaded(tmp_path, routes).routes[1].actions[0].retry.max_seconds == 3600.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("5", "expected a duration such as 200ms, 5s, 10m, 6h or 30d, found 5"),
        ("0s", "expected more than 0, found text '0s'"),
        ("soon", "expected a duration such as 200ms, 5s, 10m, 6h or 30d, found text 'soon'"),
        ("[5m]", "expected a duration such as 200ms, 5s, 10m, 6h or 30d, found a list"),
    ],
)
def test_a_digest_that_is_no_duration_is_told(tmp_path: Path, given: str, message: str) -> None:
    found = problems(tmp_path, text("x").replace("  alerts:\n", f"  alerts:\n    digest: {given}\n"))
    assert [(severity, said) for severity, said, _ in found] == [("error", message)]
