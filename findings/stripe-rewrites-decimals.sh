#!/usr/bin/env bash
# stripe makes decimals of the texts that Stripe sends as `*_decimal`. In Node an event keeps the text, which its types call a
# decimal, and the same object read from the API has one, which loses its last zeroes as JSON. In Python to_dict() cannot be
# written as JSON, and a price of 0.0000005 cents is written, and sent back to Stripe, as 5E-7.
. "$(dirname "$0")/common.sh"
packages stripe==16.1.0
needs npm
npm install --prefix "$work" --no-audit --no-fund --no-package-lock --silent stripe@23.1.0 >/dev/null
echo "with: npm stripe 23.1.0"
seen 'Stripe has:   quantity_decimal 1.50, unit_amount_decimal 0.0000005
Node, event:  string, as JSON {"quantity_decimal":"1.50","unit_amount_decimal":"0.0000005"}
Node, API:    object, as JSON {"quantity_decimal":"1.5","unit_amount_decimal":"0.0000005"}
Python, event: Decimal, as JSON {"quantity_decimal": "1.50", "unit_amount_decimal": "5E-7"}
Python, json.dumps(item.to_dict()): Object of type Decimal is not JSON serializable
Python, a price of that amount: currency=usd&unit_amount_decimal=5E-7' <<'PY'
import json
import subprocess
import sys
from pathlib import Path

import stripe

STATED = {"quantity_decimal": "1.50", "unit_amount_decimal": "0.0000005"}
ITEM = {"id": "ii_1", "object": "invoiceitem", "quantity_decimal": "1.50", "pricing": {"unit_amount_decimal": "0.0000005"}}
body = json.dumps({"id": "evt_1", "object": "event", "type": "invoiceitem.created", "data": {"object": ITEM}})
header = stripe.WebhookSignature.generate_signature_header(body, "whsec_1")
print("Stripe has:  ", ", ".join(f"{name} {text}" for name, text in STATED.items()))

SCRIPT = """
const [body, header] = process.argv.slice(1);
const Stripe = require("stripe");
const asked = async () => new Response(JSON.stringify(JSON.parse(body).data.object));
const client = new Stripe("sk_test_1", { httpClient: Stripe.createFetchHttpClient(asked) });
const show = (from, { quantity_decimal, pricing: { unit_amount_decimal } }) =>
  console.log(from, `${typeof quantity_decimal}, as JSON`, JSON.stringify({ quantity_decimal, unit_amount_decimal }));
show("Node, event: ", client.webhooks.constructEvent(body, header, "whsec_1").data.object);
client.invoiceItems.retrieve("ii_1").then((item) => show("Node, API:   ", item));
"""
command = ["node", "-e", SCRIPT, body, header]
print(subprocess.check_output(command, cwd=Path(sys.prefix).parent, text=True), end="")


class Answers(stripe.HTTPClient):
    """Answers in Stripe's place, and keeps what was sent."""

    name = "answers"

    def request(self, method, url, headers, post_data=None):
        self.sent = post_data
        return b'{"id": "price_1", "object": "price"}', 200, {}


answers = Answers()
client = stripe.StripeClient("sk_test_1", http_client=answers)
item = client.construct_event(body, header, "whsec_1").data.object
written = json.loads(str(item))
shown = {"quantity_decimal": written["quantity_decimal"], **written["pricing"]}
print(f"Python, event: {type(item.quantity_decimal).__name__}, as JSON", json.dumps(shown))
try:
    json.dumps(item.to_dict())
except TypeError as error:
    print("Python, json.dumps(item.to_dict()):", error)
client.v1.prices.create({"currency": "usd", "unit_amount_decimal": item.pricing.unit_amount_decimal})
print("Python, a price of that amount:", answers.sent)
PY
