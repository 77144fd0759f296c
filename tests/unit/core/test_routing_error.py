"""What becomes of a route whose `if`, `once_per` or `order_by` raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.errors import TemplateError, Where
from gateway.core.model import ActionUse, PlannedDelivery, Route
from gateway.core.routing import plan

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
    route = Route("fulfil", None, ("*",), HERE, once_per=Broken(), actions=(save, mail))
    assert plan([route], "acme", dict) == [
        PlannedDelivery("fulfil", "save", error="gateway.yaml:9:5: object.no: no such field", is_judged=False),
        PlannedDelivery("fulfil", "mail", ("save",), is_judged=False),
    ]
