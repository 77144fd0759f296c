"""A rejected request, judged again: by today's secrets and addresses, and by the time at which it came."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gateway.core.client_address import Networks, Sources, parse_network
from gateway.core.model import Account, Event, RejectedRequest
from gateway.core.routing import RouteTable
from gateway.intake.webhook import Intake, recognise_rejected
from gateway.testing import make_event, signed_request

CAME = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
BODY = json.dumps(make_event("invoice.paid", id="evt_1")).encode()
ACCOUNT = Account("acme", ("whsec_new",), None, 300.0)


def intake(account: Account = ACCOUNT, sources: Sources = Sources()) -> Intake:  # noqa: B008 - it is frozen
    return Intake({account.name: account}, RouteTable(()), {}, 1000, sources)


def request(signed_seconds_before: float = 0, secret: str = "whsec_new", body: bytes = BODY) -> RejectedRequest:
    signed = int((CAME - timedelta(seconds=signed_seconds_before)).timestamp())
    signature = signed_request(body, secret, timestamp=signed)["Stripe-Signature"]
    return RejectedRequest("rej_1", CAME, "acme", "no_match", "192.0.2.7", "192.0.2.7", None, signature, 0, body)


def test_what_was_in_time_when_it_came_is_in_time_days_later() -> None:
    found = recognise_rejected(intake(), request(signed_seconds_before=299))
    assert isinstance(found, Event)
    assert (found.id, found.account, found.source, found.body) == ("evt_1", "acme", "rejected", BODY)


def test_what_was_sent_again_after_the_tolerance_stays_too_old() -> None:
    assert recognise_rejected(intake(), request(signed_seconds_before=301)) == "too_old"


def test_the_account_is_found_where_the_path_had_none() -> None:
    found = recognise_rejected(intake(), replace(request(), account=None))
    assert isinstance(found, Event)
    assert found.account == "acme"


def test_each_reason_to_stay_rejected_is_told() -> None:
    assert recognise_rejected(intake(), request(secret="whsec_old")) == "no_match"
    assert recognise_rejected(intake(), replace(request(), signature=None)) == "missing"
    assert recognise_rejected(intake(), request(body=b"{}")) == "malformed_event"
    assert recognise_rejected(intake(), replace(request(), account="gone")) == "unknown_account"


def test_the_address_is_judged_by_todays_list_and_todays_proxies() -> None:
    proxied = replace(request(), peer="10.0.0.1", forwarded_for="203.0.113.9, 192.0.2.7")
    stripe = Networks([parse_network("192.0.2.7")])
    assert recognise_rejected(intake(sources=Sources(stripe)), proxied) == "source"
    mended = Sources(stripe, Networks([parse_network("10.0.0.0/8")]))
    assert isinstance(recognise_rejected(intake(sources=mended), proxied), Event)
