"""What endpoints routes want, and the plan that makes those at Stripe agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.core.errors import Where
from gateway.core.model import Account, ActionUse, Later, Route, Until
from gateway.stripe.endpoints import (
    ActionKind,
    Endpoint,
    Step,
    WantedEndpoint,
    endpoint_of,
    lint,
    plan,
    wanted_endpoints,
)

URL = "https://hooks.acme.example/webhooks/acme"
ACCOUNT = Account("acme", ("whsec_1",), None, 300.0, api_version="2026-10-28.endive")
WANTED = WantedEndpoint(URL, False, ("invoice.paid",), "2026-10-28.endive")


def route(*events: str, accounts: frozenset[str] | None = None, connected: tuple[str, ...] = ("none",)) -> Route:
    return Route("r", accounts, events, Where("gateway.yaml", 1, 1), connected_accounts=frozenset(connected))


def there(id: str = "we_1", **fields: Any) -> Endpoint:
    given = {
        "url": URL, "is_connect": False, "events": ("invoice.paid",), "api_version": "2026-10-28.endive",
        "is_enabled": True, "is_live": False,
    }  # fmt: skip
    return Endpoint(id, **{**given, **fields})


def test_globs_become_exact_types_of_the_account_s_routes() -> None:
    routes = [
        route("checkout.session.*", "invoice.paid"),
        route("invoice.paid", "future.thing.happened"),
        route("charge.refunded", accounts=frozenset({"other"})),
    ]
    ((one,), thin) = wanted_endpoints(ACCOUNT, routes, "https://hooks.acme.example/")
    assert one == WantedEndpoint(
        URL,
        False,
        (
            "checkout.session.async_payment_failed",
            "checkout.session.async_payment_succeeded",
            "checkout.session.completed",
            "checkout.session.expired",
            "future.thing.happened",
            "invoice.paid",
        ),
        "2026-10-28.endive",
    )
    assert thin == []


def test_connected_accounts_have_an_endpoint_of_their_own() -> None:
    routes = [route("invoice.paid", connected=("*", "none")), route("payout.paid", connected=("acct_1",))]
    own, connect = wanted_endpoints(ACCOUNT, routes, "https://hooks.acme.example")[0]
    assert (own.is_connect, own.events) == (False, ("invoice.paid",))
    assert (connect.is_connect, connect.events) == (True, ("invoice.paid", "payout.paid"))


def test_every_event_is_one_star_and_thin_ones_are_left_to_event_destinations() -> None:
    made, thin = wanted_endpoints(ACCOUNT, [route("*", "v1.customer.created", "invoice.paid")], "https://a.example")
    assert made[0].events == ("*",)
    assert thin == ["v1.customer.created"]
    assert wanted_endpoints(ACCOUNT, [route("v2.core.account.*")], "https://a.example")[0] == []


def test_what_agrees_needs_no_step_and_others_endpoints_are_left_alone() -> None:
    assert plan([WANTED], [there(), there("we_2", url="https://other.example/hooks", events=("*",))]) == []
    any_version = WantedEndpoint(URL, False, ("invoice.paid",), None)
    assert plan([any_version], [there(api_version="2020-08-27")]) == []


def test_a_missing_endpoint_is_created() -> None:
    assert plan([WANTED], []) == [Step(ActionKind.CREATE, WANTED, ("there is none",))]
    of_connected = there(is_connect=True)
    assert [step.deed for step in plan([WANTED], [of_connected])] == [ActionKind.CREATE]


def test_other_events_and_a_disabled_endpoint_are_one_update() -> None:
    old = there(events=("charge.refunded", "invoice.paid"), is_enabled=False)
    wanted = WantedEndpoint(URL, False, ("invoice.paid", "payout.paid"), None)
    (step,) = plan([wanted], [old])
    assert step == Step(
        ActionKind.UPDATE,
        wanted,
        ("+ payout.paid", "- charge.refunded", "it is disabled"),
        old,
        {"enabled_events": ["invoice.paid", "payout.paid"], "disabled": "false"},
    )


def test_another_version_is_made_beside_the_old_one_and_then_switched_to() -> None:
    old = there("we_old", api_version="2020-08-27")
    (create,) = plan([WANTED], [old])
    assert (create.deed, create.instead_of) == (ActionKind.CREATE, (old,))
    assert create.reasons == ("the one there is of 2020-08-27, which cannot be changed",)
    new = there("we_new", is_enabled=False)
    (switch,) = plan([WANTED], [old, new])
    assert (switch.deed, switch.endpoint, switch.instead_of) == (ActionKind.SWITCH, new, (old,))
    assert switch.reasons == ("it is of 2026-10-28.endive; we_old, of another version, is still enabled",)
    assert plan([WANTED], [there("we_old", api_version="2020-08-27", is_enabled=False), there("we_new")]) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"application": None, "metadata": {}}, False),
        ({"application": "ca_1", "metadata": {}}, True),
        ({"application": None, "metadata": {"gateway_connect": "true"}}, True),
        ({"application": "ca_1", "metadata": {"gateway_connect": "false"}}, False),
    ],
)
def test_an_endpoint_for_connected_accounts_is_known_by_our_mark_or_its_application(
    given: dict[str, Any], expected: bool
) -> None:
    assert endpoint_of({"id": "we_1", "url": URL, **given}).is_connect is expected


def test_thin_types_that_only_cancel_what_waits_are_left_to_event_destinations_too() -> None:
    always: Any = None
    until = Until(("v1.invoice.paid", "charge.refunded"), always, always)
    remind = ActionUse("remind", "notify", (), Where("gateway.yaml", 1, 1), later=Later(until=until))
    dunning = replace(route("invoice.payment_failed"), actions=(remind,))
    ((endpoint,), thin) = wanted_endpoints(ACCOUNT, [dunning], "https://a.example")
    assert endpoint.events == ("charge.refunded", "invoice.payment_failed")
    assert thin == ["v1.invoice.paid"]


def test_mistakes_of_mode_and_address_are_told_before_anything_is_asked() -> None:
    live = Account("acme", ("whsec_1",), True, 300.0)
    assert lint(live, "https://hooks.acme.example", is_live=True) == []
    assert lint(ACCOUNT, "http://hooks.acme.example", is_live=False) == []
    assert lint(live, "https://hooks.acme.example", is_live=False) == [
        "accounts.acme: livemode is true, but api_key is a test key: its endpoints would get test events, which are "
        "ignored here"
    ]
    assert lint(live, "http://hooks.acme.example", is_live=True) == [
        "http://hooks.acme.example: in live mode Stripe posts to https:// alone"
    ]
    for host in ("localhost", "10.0.0.1", "[::1]", "gateway", "hooks.local"):
        assert lint(ACCOUNT, f"https://{host}:8080", is_live=False) == [
            f"https://{host}:8080: Stripe cannot reach this address; for your own machine use `stripe listen "
            "--forward-to localhost:8080/webhooks/acme`"
        ]
