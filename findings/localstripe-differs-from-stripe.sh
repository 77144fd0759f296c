#!/usr/bin/env bash
# localstripe answers where Stripe's documentation says otherwise: a second POST with the same Idempotency-Key makes a second
# object, an empty value leaves an empty key in the metadata instead of removing it, and a deleted customer is a 404 where
# Stripe answers 200 with "deleted": true. Code that is right against Stripe fails here, and code that is wrong passes.
. "$(dirname "$0")/common.sh"
packages localstripe==1.15.10
seen 'two POSTs of one Idempotency-Key: 2 customers
metadata[size] set to "": {"size": "", "sku": "7"}
GET of a deleted customer: 404' <<'PY'
import base64
import json
import socket
import subprocess
import sys
import tempfile
import time
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen


def call(method, path, parameters=None, **headers):
    request = Request(address + path, method=method, data=urlencode(parameters).encode() if parameters else None)
    request.add_header("Authorization", "Basic " + base64.b64encode(b"sk_test_12345:").decode())
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urlopen(request) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, None


with socket.socket() as chosen:
    chosen.bind(("127.0.0.1", 0))
    port = chosen.getsockname()[1]
address = f"http://127.0.0.1:{port}/v1/customers"
with tempfile.TemporaryDirectory() as folder:
    command = [f"{sys.prefix}/bin/localstripe", "--port", str(port), "--from-scratch"]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        customer = {"email": "ada@shop.example", "metadata[size]": "L", "metadata[sku]": "7"}
        ids = {call("POST", "", customer, Idempotency_Key="evt_1")[1]["id"] for _ in range(2)}
        print("two POSTs of one Idempotency-Key:", len(ids), "customers")
        path = "/" + min(ids)
        changed = call("POST", path, {"metadata[size]": ""})[1]["metadata"]
        print('metadata[size] set to "":', json.dumps(changed, sort_keys=True))
        call("DELETE", path)
        print("GET of a deleted customer:", call("GET", path)[0])
    finally:
        server.terminate()
        server.wait(60)
PY
