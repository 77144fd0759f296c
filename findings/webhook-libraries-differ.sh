#!/usr/bin/env bash
# Libraries that verify signed webhooks differ where one would not look. svix 2 for Python and Node returns nothing from
# verify, where standardwebhooks returns the event. The low-level verifier of stripe looks at no age in Python, at 300 s in
# Node; both take a time in the future.
. "$(dirname "$0")/common.sh"
packages svix==2.9.1 standardwebhooks==1.1.0 stripe==16.1.0
needs npm
npm install --prefix "$work" --no-audit --no-fund --no-package-lock --silent svix@2.5.0 standardwebhooks@1.1.1 stripe@23.1.0 >/dev/null
echo "with: npm svix 2.5.0, standardwebhooks 1.1.1, stripe 23.1.0"
seen "Python standardwebhooks returns: {'id': 'evt_1'}
Python svix returns: None
Node standardwebhooks returns: { id: 'evt_1' }
Node svix returns: undefined
Python stripe, signed an hour ago: accepted
Python stripe, signed in an hour: accepted
Node stripe, signed an hour ago: refused
Node stripe, signed in an hour: accepted" <<'PY'
import base64
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import standardwebhooks
import stripe
import svix.webhooks

secret, body, now = "whsec_" + base64.b64encode(b"k" * 32).decode(), '{"id":"evt_1"}', datetime.now(UTC)
signature = standardwebhooks.Webhook(secret).sign("msg_1", now, body)
headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
print("Python standardwebhooks returns:", standardwebhooks.Webhook(secret).verify(body, headers))
print("Python svix returns:", svix.webhooks.Webhook(secret).verify(body, headers))
times = {"signed an hour ago": int(time.time()) - 3600, "signed in an hour": int(time.time()) + 3600}
old_and_new = {
    what: stripe.WebhookSignature.generate_signature_header(body, secret, at) for what, at in times.items()
}
script = """
const [secret, body, headers, stripeHeaders] = JSON.parse(process.argv[1]);
for (const name of ["standardwebhooks", "svix"])
  console.log(`Node ${name} returns:`, new (require(name).Webhook)(secret).verify(body, headers));
const { webhooks } = new (require("stripe"))("sk_test_unused");
for (const [what, header] of Object.entries(stripeHeaders)) {
  let seen = "accepted";
  try { webhooks.signature.verifyHeader(body, header, secret); } catch { seen = "refused"; }
  console.log(`Node stripe, ${what}: ${seen}`);
}
"""
given = json.dumps([secret, body, headers, old_and_new])
folder = Path(sys.prefix).parent
node = subprocess.check_output(["node", "-e", script, given], cwd=folder, text=True).splitlines()
print(*node[:2], sep="\n")
for what, header in old_and_new.items():
    try:
        stripe.WebhookSignature.verify_header(body, header, secret)
        print(f"Python stripe, {what}: accepted")
    except stripe.SignatureVerificationError:
        print(f"Python stripe, {what}: refused")
print(*node[2:], sep="\n")
PY
