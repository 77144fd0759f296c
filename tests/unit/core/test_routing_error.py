"""What becomes of a route whose `if`, `once_per` or `order_by` raises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.core.envelope import parse_event
from gateway.core.errors import TemplateError, Where
from gateway.core.model import Account, ActionUse, PlannedDelivery, Route
from gateway.core.routing import RouteTable, plan, route
from gateway.testing import make_event

HERE = Where("gateway.yaml", 9, 5)


@dataclass(frozen=True)
class Broken:
    """An expression that raises."""

    source: str = "object.no"
    where: Where = HERE

    def prepare(self) -> None:
        pass

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        raise TemplateError(self.where, "object.no: no such field")


def test_a_routing_error_loses_nothing_and_leaves_every_delivery_to_be_judged() -> None:
    save = ActionUse("save", "db_upsert", (), HERE)
    mail = ActionUse("mail", "email", ("save",), HERE)
    fulfil = Route("fulfil", None, ("*",), HERE, once_per=Broken(), actions=(save, mail))
    assert plan([fulfil], parse_event(json.dumps(make_event()).encode(), "acme", datetime.now(UTC)), dict) == [
        PlannedDelivery("fulfil", "save", error="gateway.yaml:9:5: object.no: no such field", is_judged=False),
        PlannedDelivery("fulfil", "mail", ("save",), is_judged=False),
    ]


def test_an_event_that_cannot_be_read_whole_is_kept_and_its_deliveries_say_so() -> None:
    body = json.dumps(make_event(object={"amount": 7})).replace('"amount": 7', '"amount": 1e999').encode()
    event = parse_event(body, "acme", datetime.now(UTC))
    fulfil = Route(
        "fulfil", None, ("*",), HERE, condition=Broken(), actions=(ActionUse("save", "db_upsert", (), HERE),)
    )
    _, planned = route(event, {"acme": Account("acme", (), None, 300.0)}, RouteTable([fulfil]), {})
    (delivery,) = planned
    assert delivery.error is not None
    assert delivery.error.startswith("not JSON: Number out of range")
    assert not delivery.is_judged
