"""What is written at the stand-in for Stripe's API: refunds, customers, subscriptions; once for an Idempotency-Key.

On docs.stripe.com: /api/idempotent_requests, /api/refunds/create, /api/customers/update, /api/subscriptions/cancel.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from tests.stripe_standin_events import Request, StripeError

Answer = tuple[int, dict[str, Any]]


class Writes:
    """The objects that are written live with the stand-in's others, by (account, id)."""

    def __init__(self, objects: dict[tuple[str, str], dict[str, Any]]) -> None:
        self.refunds: list[dict[str, Any]] = []
        self._objects = objects
        self._answers: dict[tuple[str, str], tuple[Any, Answer]] = {}  # by account and key
        self._number = itertools.count(1)

    def write(self, asked: Request, account: str) -> tuple[Answer, bool]:
        """The answer, and whether it is the one of an earlier request with the key. What is refused before it begins is
        not remembered.
        """
        key, question = (account, asked.headers.get("Idempotency-Key", "")), (asked.path, asked.form)
        if key[1] and key in self._answers:
            before, answer = self._answers[key]
            if before != question:
                raise StripeError(
                    400,
                    "Keys for idempotent requests can only be used with the same parameters they were first used "
                    f"with. Try using a key other than '{key[1]}' if you meant to execute a different request.",
                    "idempotency_error",
                )
            return answer, True
        answer = 200, self._written(asked, account, _tree(asked.form))
        if key[1]:
            self._answers[key] = question, answer
        return answer, False

    def _written(self, asked: Request, account: str, params: Mapping[str, Any]) -> dict[str, Any]:
        _, _, collection, *rest = asked.path.split("/")
        if asked.method == "POST" and collection == "refunds" and not rest:
            return self._refund(params)
        stored = self._objects.get((account, "/".join(rest)))
        if stored is None:
            raise StripeError(404, f"No such {collection[:-1]}: '{'/'.join(rest)}'", "resource_missing", "id")
        if asked.method == "DELETE" and collection == "subscriptions":
            stored |= {"status": "canceled", "cancellation_details": params.get("cancellation_details")}
        else:
            stored["metadata"] = {**stored.get("metadata", {}), **params.get("metadata", {})}
            stored |= {name: value for name, value in params.items() if name != "metadata"}
        return stored

    def _refund(self, params: Mapping[str, Any]) -> dict[str, Any]:
        unknown = sorted(params.keys() - {"payment_intent", "amount", "reason", "metadata"})
        if unknown:
            raise StripeError(400, f"Received unknown parameter: {unknown[0]}", "parameter_unknown", unknown[0])
        intent = params.get("payment_intent")
        if any(refund["payment_intent"] == intent for refund in self.refunds):
            raise StripeError(400, f"Charge ch_{intent} has already been refunded.", "charge_already_refunded")
        refund = {"id": f"re_{next(self._number)}", "object": "refund", "status": "succeeded", **params}
        self.refunds.append(refund)
        return refund


def _tree(form: list[tuple[str, str]]) -> dict[str, Any]:
    """A form as Stripe reads it: `metadata[order]` is within metadata."""
    tree: dict[str, Any] = {}
    for name, value in form:
        first, *rest = name.replace("]", "").split("[")
        part = tree
        for step, following in itertools.pairwise([first, *rest]):
            part = part.setdefault(step, {})
            assert following
        part[[first, *rest][-1]] = value
    return tree
