#!/usr/bin/env bash
# The binary mode of CloudEvents over HTTP has what is not ASCII percent-encoded in headers, and decoded (HTTP binding, 3.1.3.2).
# Python's new classes do both; its old ones (cloudevents.v1, the cloudevents.http of before 2.0) and Node's do neither: a
# subject that the one wrote is another text to the other.
. "$(dirname "$0")/common.sh"
packages cloudevents==2.2.0
needs npm
npm install --prefix "$work" --no-audit --no-fund --no-package-lock --silent cloudevents@10.0.0 >/dev/null
echo "with: npm cloudevents 10.0.0"
seen 'subject "Köln 7" is sent
  by Python (core): K%C3%B6ln%207
  by Python (v1):   Köln 7
  by Node:          Köln 7
K%C3%B6ln%207 is read
  by Python (core): Köln 7
  by Python (v1):   K%C3%B6ln%207
  by Node:          K%C3%B6ln%207' <<'PY'
import json
import subprocess
import sys
import warnings
from pathlib import Path

from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, to_binary_event
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.http import CloudEvent as OldCloudEvent
from cloudevents.v1.http import from_http, to_binary

warnings.simplefilter("ignore")
SUBJECT, ENCODED = "K\u00f6ln 7", "K%C3%B6ln%207"
ATTRIBUTES = {"id": "evt_1", "source": "/shop", "type": "order.paid", "specversion": "1.0"}
HEADERS = {**{f"ce-{name}": value for name, value in ATTRIBUTES.items()}, "ce-subject": ENCODED}
HEADERS["content-type"] = "application/json"
SCRIPT = """
const { HTTP, CloudEvent } = require("cloudevents");
const [attributes, subject, headers] = process.argv.slice(1);
const sent = HTTP.binary(new CloudEvent({ ...JSON.parse(attributes), subject, data: {} })).headers["ce-subject"];
console.log(JSON.stringify([sent, HTTP.toEvent({ headers: JSON.parse(headers), body: "{}" }).subject]));
"""
command = ["node", "-e", SCRIPT, json.dumps(ATTRIBUTES), SUBJECT, json.dumps(HEADERS)]
node_sent, node_read = json.loads(subprocess.check_output(command, cwd=Path(sys.prefix).parent))
core_sent = to_binary_event(CloudEvent({**ATTRIBUTES, "subject": SUBJECT}, {})).headers["ce-subject"]
old_sent = to_binary(OldCloudEvent({**ATTRIBUTES, "subject": SUBJECT}, {}))[0]["ce-subject"]
print(f'subject "{SUBJECT}" is sent\n  by Python (core): {core_sent}\n  by Python (v1):   {old_sent}\n  by Node:          {node_sent}')
core_read = from_binary_event(HTTPMessage(HEADERS, b"{}")).get_subject()
old_read = from_http(HEADERS, b"{}")["subject"]
print(f"{ENCODED} is read\n  by Python (core): {core_read}\n  by Python (v1):   {old_read}\n  by Node:          {node_read}")
PY
