#!/usr/bin/env bash
# stripe asks again of itself, but looks at no Retry-After: an answer of 503 that says 120 seconds is asked again after about
# half a second. An answer of 429 is not asked again at all, unless Stripe adds Stripe-Should-Retry.
. "$(dirname "$0")/common.sh"
packages stripe==16.1.0
needs npm
npm install --prefix "$work" --no-audit --no-fund --no-package-lock --silent stripe@23.1.0 >/dev/null
echo "with: npm stripe 23.1.0"
seen "Python, 503 with Retry-After 120: asked again at once
Node, 503 with Retry-After 120: asked again at once
Python, 429 with Retry-After 1: RateLimitError after 1 request
Node, 429 with Retry-After 1: StripeRateLimitError after 1 request" <<'PY'
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import stripe

asked = []


class Stripe(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status, retry_after = 503, 120

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked.append(time.monotonic())
        first = len(asked) == 1
        body = b'{"error": {"message": "busy"}}' if first else b'{"id": "cus_1", "object": "customer"}'
        self.send_response(self.status if first else 200)
        if first:
            self.send_header("Retry-After", str(self.retry_after))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Stripe)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = {"api": f"http://127.0.0.1:{server.server_port}"}
client = stripe.StripeClient("sk_test_1", base_addresses=address, max_network_retries=2)
SCRIPT = """
const options = { host: "127.0.0.1", port: process.argv[1], protocol: "http", maxNetworkRetries: 2 };
const client = new (require("stripe"))("sk_test_1", options);
client.customers.create({}).catch((error) => process.stdout.write(error.type));
"""


def python():
    try:
        client.v1.customers.create({})
    except stripe.StripeError as error:
        return type(error).__name__
    return ""


def node():
    command = ["node", "-e", SCRIPT, str(server.server_port)]
    return subprocess.check_output(command, cwd=Path(sys.prefix).parent, text=True)


for Stripe.status, Stripe.retry_after in ((503, 120), (429, 1)):
    for name, create in (("Python", python), ("Node", node)):
        asked.clear()
        error = create()
        if error:
            outcome = f"{error} after {len(asked)} request"
        else:
            outcome = "asked again " + ("at once" if asked[1] - asked[0] < 60 else "when told to")
        print(f"{name}, {Stripe.status} with Retry-After {Stripe.retry_after}: {outcome}")
PY
