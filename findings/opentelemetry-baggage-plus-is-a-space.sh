#!/usr/bin/env bash
# Python's OpenTelemetry writes a space of baggage as +, as forms do, and reads + as a space. W3C Baggage knows percent-encoding
# alone: Node reads another value, and an address of mail that somebody sent as it is arrives as another address.
. "$(dirname "$0")/common.sh"
packages opentelemetry-api==1.45.2
needs npm
npm install --prefix "$work" --no-audit --no-fund --no-package-lock --silent @opentelemetry/core@2.12.1 @opentelemetry/api@1.9.1 >/dev/null
echo "with: npm @opentelemetry/core 2.12.1"
seen 'Python has "Ada Lovelace", sends name=Ada+Lovelace
  Node reads   "Ada+Lovelace"
  Python reads "Ada Lovelace"
name=ada+orders@shop.example, as W3C Baggage allows
  Node reads   "ada+orders@shop.example"
  Python reads "ada orders@shop.example"' <<'PY'
import json
import subprocess
import sys
from pathlib import Path

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator

SCRIPT = """
const { propagation, ROOT_CONTEXT, defaultTextMapGetter } = require("@opentelemetry/api");
const { W3CBaggagePropagator } = require("@opentelemetry/core");
const read = new W3CBaggagePropagator().extract(ROOT_CONTEXT, { baggage: process.argv[1] }, defaultTextMapGetter);
console.log(JSON.stringify(propagation.getBaggage(read).getEntry("name").value));
"""


def read(header):
    command = ["node", "-e", SCRIPT, header]
    print("  Node reads  ", subprocess.check_output(command, cwd=Path(sys.prefix).parent, text=True).strip())
    context = W3CBaggagePropagator().extract({"baggage": header})
    print("  Python reads", json.dumps(baggage.get_baggage("name", context)))


headers = {}
W3CBaggagePropagator().inject(headers, baggage.set_baggage("name", "Ada Lovelace"))
print(f'Python has "Ada Lovelace", sends {headers["baggage"]}')
read(headers["baggage"])
sent = "name=ada+orders@shop.example"
print(f"{sent}, as W3C Baggage allows")
read(sent)
PY
