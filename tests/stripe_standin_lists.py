"""The lists of objects of the stand-in for Stripe's API, as https://docs.stripe.com/api/pagination has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.stripe_standin_events import Request, StripeError, created_bounds, limit_of

NOT_BY_TIME = ("payment_link", "quote", "billing.meter")  # their lists know no `created`


def list_objects(asked: Request, noun: str, objects: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The newest first; of one second, that which was made last. What is deleted is not listed, nor a subscription that
    has ended unless its status is asked for: https://docs.stripe.com/api/subscriptions/list
    """
    query = dict(asked.query)
    bounds = created_bounds(asked.query)
    if bounds and noun in NOT_BY_TIME:
        raise StripeError(400, "Received unknown parameter: created", "parameter_unknown", "created")
    status = query.get("status")
    compare = {"gt": int.__gt__, "gte": int.__ge__, "lt": int.__lt__, "lte": int.__le__, "": int.__eq__}
    checks = [(compare[name], int(bound)) for name, bound in bounds.items()]

    def is_wanted(value: dict[str, Any]) -> bool:
        if value["object"] != noun or value.get("deleted"):
            return False
        if noun == "subscription" and status != "all" and (status or "canceled") == value.get("status"):
            return status is not None
        return all(check(int(value["created"]), bound) for check, bound in checks)

    found = sorted(filter(is_wanted, objects), key=lambda value: int(value["created"]))[::-1]
    limit, start = limit_of(query), 0
    if "starting_after" in query:
        places = [i for i, value in enumerate(found) if value["id"] == query["starting_after"]]
        if not places:
            raise StripeError(400, f"No such {noun}: '{query['starting_after']}'", "resource_missing", "starting_after")
        start = places[0] + 1
    data = found[start : start + limit]
    return {"object": "list", "url": asked.path, "has_more": start + limit < len(found), "data": data}
