#!/usr/bin/env bash
# stripe's client raises AttributeError at an answer of 200 in which a mapping of objects is null, such as the rules of a
# balance's settings or the currencies of a promotion code, though its own types say Optional.
. "$(dirname "$0")/common.sh"
packages stripe==16.1.0
seen "balance_settings: AttributeError: 'NoneType' object has no attribute 'items'
promotion_code: AttributeError: 'NoneType' object has no attribute 'items'" <<'PY'
import json

import stripe

ANSWERS = {
    "balance_settings": {"payments": {"payouts": {"automatic_transfer_rules_by_currency": None}}},
    "promotion_code": {"id": "promo_1", "restrictions": {"currency_options": None}},
}


class Answers(stripe.HTTPClient):
    """Answers in Stripe's place, with 200."""

    name = "answers"

    def request(self, method, url, headers, post_data=None):
        (kind,) = (kind for kind in ANSWERS if kind in url)
        return json.dumps({"object": kind, **ANSWERS[kind]}).encode(), 200, {}


client = stripe.StripeClient("sk_test_1", http_client=Answers(), max_network_retries=0)
for kind, ask in {
    "balance_settings": client.v1.balance_settings.retrieve,
    "promotion_code": lambda: client.v1.promotion_codes.retrieve("promo_1"),
}.items():
    try:
        print(f"{kind}: {ask()}")
    except AttributeError as error:
        print(f"{kind}: {type(error).__name__}: {error}")
PY
