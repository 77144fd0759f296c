#!/usr/bin/env bash
# The same parameters are another request in another language: a null of Node is sent as an empty value, by which Stripe removes
# what was there; Python's None is left out. An empty mapping is sent by neither, so it clears nothing.
. "$(dirname "$0")/common.sh"
packages stripe==16.1.0
needs npm
npm install --prefix "$work" --no-audit --no-fund --no-package-lock --silent stripe@23.1.0 >/dev/null
echo "with: npm stripe 23.1.0"
seen 'params {"description": null, "metadata": {"sku": null, "size": "L"}}
  Python sends metadata[size]=L
  Node sends   description=&metadata[sku]=&metadata[size]=L
params {"name": "Ada", "metadata": null}
  Python sends name=Ada
  Node sends   name=Ada&metadata=
params {"name": "Ada", "metadata": {}}
  Python sends name=Ada
  Node sends   name=Ada
params {"metadata": ""}
  Python sends metadata=
  Node sends   metadata=' <<'PY'
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import stripe

CHANGES = [
    {"description": None, "metadata": {"sku": None, "size": "L"}},
    {"name": "Ada", "metadata": None},
    {"name": "Ada", "metadata": {}},
    {"metadata": ""},
]
sent = []


class Stripe(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        sent.append(unquote(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()))
        body = b'{"id": "cus_1", "object": "customer"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Stripe)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = stripe.StripeClient("sk_test_1", base_addresses={"api": f"http://127.0.0.1:{server.server_port}"})
for change in CHANGES:
    client.v1.customers.update("cus_1", change)
SCRIPT = """
const [port, changes] = process.argv.slice(1);
const client = new (require("stripe"))("sk_test_1", { host: "127.0.0.1", port, protocol: "http" });
(async () => { for (const change of JSON.parse(changes)) await client.customers.update("cus_1", change); })();
"""
command = ["node", "-e", SCRIPT, str(server.server_port), json.dumps(CHANGES)]
subprocess.run(command, cwd=Path(sys.prefix).parent, check=True)
for change, of_python, of_node in zip(CHANGES, sent[:4], sent[4:], strict=True):
    print(f"params {json.dumps(change)}\n  Python sends {of_python}\n  Node sends   {of_node}")
PY
