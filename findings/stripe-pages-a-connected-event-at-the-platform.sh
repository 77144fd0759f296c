#!/usr/bin/env bash
# An event of a connected account names it in `account`, but the objects that stripe makes of the event do not know it: the
# further pages of a list in it are asked of the platform's own account, where Stripe has no such invoice.
. "$(dirname "$0")/common.sh"
packages stripe==16.1.0
seen "event of: acct_connected
auto_paging_iter asks /v1/invoices/in_1/lines?starting_after=il_1 of: the platform's account
line_items.list asks /v1/invoices/in_1/lines?starting_after=il_1 of: acct_connected" <<'PY'
import json

import stripe


class Answers(stripe.HTTPClient):
    """Answers in Stripe's place with a last, empty page."""

    name = "answers"
    asked = ""

    def request(self, method, url, headers, post_data=None):
        account = headers.get("Stripe-Account", "the platform's account")
        self.asked = f"{url.partition('.com')[2]} of: {account}"
        return b'{"object": "list", "data": [], "has_more": false}', 200, {}


answers = Answers()
client = stripe.StripeClient("sk_test_1", http_client=answers)
lines = {
    "object": "list",
    "data": [{"id": "il_1", "object": "line_item"}],
    "has_more": True,
    "url": "/v1/invoices/in_1/lines",
}
body = json.dumps(
    {
        "id": "evt_1",
        "object": "event",
        "type": "invoice.paid",
        "account": "acct_connected",
        "data": {"object": {"id": "in_1", "object": "invoice", "lines": lines}},
    }
)
header = stripe.WebhookSignature.generate_signature_header(body, "whsec_1")
event = client.construct_event(body, header, "whsec_1")
print("event of:", event.account)
list(event.data.object.lines.auto_paging_iter())
print("auto_paging_iter asks", answers.asked)
client.v1.invoices.line_items.list("in_1", {"starting_after": "il_1"}, {"stripe_account": event.account})
print("line_items.list asks", answers.asked)
PY
