"""The list of event types: as the stripe library has it, and what is near to a mistyped one."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any

import pytest

from gateway.stripe import event_types

FILE = Path(event_types.__file__).with_name("event_types.txt")


def types_of_stripe() -> list[str]:
    """Every type that the installed stripe library knows."""
    from stripe import Event
    from stripe.events import _event_classes
    from stripe.params import WebhookEndpointCreateParams

    named: set[str] = set(typing.get_args(Event.__annotations__["type"]))
    enabled: Any = WebhookEndpointCreateParams.__annotations__["enabled_events"]
    while typing.get_origin(enabled) is not typing.Literal:
        enabled = typing.get_args(enabled)[0]
    thin = re.findall(
        r'^    "(v\d\.[a-z0-9_.\[\]]+)": \(', Path(str(_event_classes.__file__)).read_text(), re.MULTILINE
    )
    return sorted((named | set(typing.get_args(enabled)) | set(thin)) - {"*"})


def test_the_list_is_that_of_the_stripe_library() -> None:
    assert FILE.read_text().split() == types_of_stripe(), "make event-types"


def test_a_type_with_brackets_in_it_is_known_and_names_itself() -> None:
    requirements = "v2.core.account[requirements].updated"
    assert event_types.matches(requirements) == {requirements}
    assert requirements in event_types.matches("v2.core.account*")
    assert requirements not in event_types.matches("v2.core.account.*")


def test_snapshot_and_thin_types_are_told_apart() -> None:
    assert "invoice.paid" in event_types.snapshot_types()
    assert "v1.billing.meter.error_report_triggered" in event_types.thin_types()
    assert not set(event_types.snapshot_types()) & set(event_types.thin_types())
    assert event_types.SYNCHRONOUS in event_types.snapshot_types()


def test_a_pattern_matches_types_as_routes_do() -> None:
    assert event_types.matches("invoice.paid") == {"invoice.paid"}
    assert "customer.subscription.updated" in event_types.matches("customer.subscription.*")
    assert event_types.matches("customer.subscribtion.*") == frozenset()
    assert event_types.matches("*") == event_types.known_types()


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("invoice.payed", "invoice.paid"),
        ("checkout.session.complete", "checkout.session.completed"),
        ("customer.subscribtion.*", "customer.subscription.*"),
        ("custmer.*", "customer.*"),
        ("zzzzzz", None),
        ("zzzzzz.*", None),
    ],
)
def test_the_nearest_type_is_found(pattern: str, near: str | None) -> None:
    assert event_types.nearest(pattern) == near


if __name__ == "__main__":
    FILE.write_text("\n".join(types_of_stripe()) + "\n")
