"""What an account's webhook endpoints at Stripe send, against what the routes want."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.doctor.stripe_account import mode_finding
from gateway.cli.doctor.stripe_endpoints import endpoint_findings, ours, type_findings
from gateway.core.model import Account
from gateway.plugin import Finding

VERSION = "2026-10-28.endive"


def endpoint(**more: Any) -> dict[str, Any]:
    return {
        "id": "we_1",
        "url": "https://hooks.acme.example/webhooks/acme",
        "status": "enabled",
        "api_version": VERSION,
        "enabled_events": ["checkout.session.completed"],
        **more,
    }


def texts(sent: set[str], *patterns: str) -> list[tuple[str, str]]:
    return [(one.verdict.value, one.text) for one in type_findings(frozenset(sent), patterns)]


def test_an_endpoint_that_sends_what_routes_want_is_good() -> None:
    assert list(endpoint_findings([endpoint()], "acme", ["checkout.session.completed"], VERSION)) == [
        Finding.good(
            f"endpoint we_1 (https://hooks.acme.example/webhooks/acme) is enabled and sends events in version {VERSION}"
        ),
        Finding.good("the endpoint sends every type that the routes name"),
    ]


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("https://a.example/webhooks/acme", True),
        ("https://a.example/webhooks", True),
        ("https://a.example/stripe/webhooks/acme/", True),
        ("https://a.example/webhooks/other", False),
        ("https://a.example/hook", False),
    ],
)
def test_endpoints_are_known_by_their_path(url: str, is_ours: bool) -> None:
    assert bool(ours([endpoint(url=url)], "acme")) is is_ours


def test_the_path_without_a_name_leads_nowhere_where_too_many_accounts_share_it() -> None:
    shared, named = (endpoint(url=f"https://a.example/webhooks{name}") for name in ("", "/acme"))
    assert ours([shared, named], "acme", is_path_shared=False) == [named]
    (missing,) = endpoint_findings([shared], "acme", ["invoice.paid"], VERSION, is_path_shared=False)
    assert "no webhook endpoint at Stripe leads to /webhooks/acme (1 leads elsewhere)" in str(missing)


def test_an_endpoint_that_is_missing_or_disabled_is_bad() -> None:
    (missing,) = endpoint_findings([endpoint(url="https://a.example/hook")], "acme", ["invoice.paid"], VERSION)
    assert missing == Finding.bad(
        "no webhook endpoint at Stripe leads to /webhooks/acme (1 leads elsewhere)",
        "register https://YOUR-HOST/webhooks/acme under Developers > Webhooks in Stripe's dashboard",
    )
    (disabled,) = endpoint_findings([endpoint(status="disabled")], "acme", ["invoice.paid"], VERSION)
    assert disabled == Finding.bad(
        "endpoint we_1 (https://hooks.acme.example/webhooks/acme) is disabled",
        "enable it under Developers > Webhooks in Stripe's dashboard",
    )


def test_two_endpoints_of_one_account_send_together() -> None:
    two = [endpoint(), endpoint(id="we_2", enabled_events=["invoice.paid"])]
    *_, last = endpoint_findings(two, "acme", ["checkout.session.completed", "invoice.paid"], VERSION)
    assert last.text == "the endpoint sends every type that the routes name"


def test_another_api_version_is_noted() -> None:
    found, _ = endpoint_findings([endpoint(api_version="2024-06-20")], "acme", ["checkout.session.completed"], VERSION)
    assert (found.verdict, found.text.rpartition("sends ")[2]) == (
        "note",
        f"events in version 2024-06-20; this gateway's is {VERSION}",
    )


@pytest.mark.parametrize(
    ("sent", "configured", "verdict", "text"),
    [
        (VERSION, VERSION, "good", f"in version {VERSION}"),
        ("2024-06-20", "2024-06-20", "good", "in version 2024-06-20"),
        ("2024-06-20", VERSION, "bad", f"in version 2024-06-20, but accounts.acme.api_version is {VERSION}"),
        (None, VERSION, "note", f"in the account's default version, while accounts.acme.api_version is {VERSION}"),
        (None, None, "good", "in the account's default version"),
    ],
)
def test_an_endpoint_of_another_version_than_the_accounts_is_told(
    sent: str | None, configured: str | None, verdict: str, text: str
) -> None:
    told, _ = endpoint_findings(
        [endpoint(api_version=sent)], "acme", ["checkout.session.completed"], VERSION, configured
    )
    assert (told.verdict.value, told.text.rpartition("sends events ")[2]) == (verdict, text)
    if verdict == "bad":
        assert told.fix.startswith("`gateway check --api-version 2024-06-20` lists what means something else there")


def test_types_that_are_not_sent_are_named() -> None:
    assert texts({"invoice.paid"}, "checkout.session.completed", "charge.refunded", "invoice.paid") == [
        ("bad", "the endpoint does not send what routes want: charge.refunded, checkout.session.completed")
    ]


def test_a_glob_that_is_sent_in_part_is_noted_and_one_that_is_not_sent_at_all_is_bad() -> None:
    assert texts({"invoice.paid"}, "invoice.pa*", "price.*") == [
        ("bad", "the endpoint does not send what routes want: price.*"),
        (
            "note",
            "globs of the routes match types that the endpoint does not send: invoice.payment_action_required, "
            "invoice.payment_attempt_required, invoice.payment_failed, invoice.payment_succeeded",
        ),
    ]


def test_types_that_no_route_wants_are_told() -> None:
    assert texts({"invoice.paid", "charge.refunded"}, "invoice.paid") == [
        ("good", "the endpoint sends every type that the routes name"),
        ("note", "the endpoint sends types that no route wants: charge.refunded"),
    ]
    assert texts({"*"}, "invoice.paid") == [("note", "the endpoint sends every type; the routes want 1 of them")]


def test_thin_types_are_not_looked_for_at_webhook_endpoints() -> None:
    assert texts({"invoice.paid"}, "invoice.paid", "v1.billing.meter.error_report_triggered") == [
        ("good", "the endpoint sends every type that the routes name"),
        (
            "note",
            "thin events come by event destinations, which are not looked at: v1.billing.meter.error_report_triggered",
        ),
    ]


@pytest.mark.parametrize(
    ("is_live", "livemode", "verdict"),
    [
        (False, False, "good"),
        (True, True, "good"),
        (False, None, "good"),
        (False, True, "bad"),
        (True, False, "bad"),
    ],
)
def test_the_keys_mode_is_the_one_that_is_meant(is_live: bool, livemode: bool | None, verdict: str) -> None:
    account = Account("acme", ("whsec_x",), livemode, 300.0, api_key="any")
    assert mode_finding(account, is_live=is_live).verdict == verdict
