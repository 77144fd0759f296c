#!/usr/bin/env bash
# Apprise follows redirects by default: the message of a POST that is answered 307 goes to another address, and after a 302 an
# empty GET is asked there and the notification counts as sent. AppriseAsset(http_redirects=False) turns that off.
. "$(dirname "$0")/common.sh"
packages apprise==2.3.0
seen '307: sent, asked: POST /here (with the message), POST /there (with the message)
302: sent, asked: POST /here (with the message), GET /there
302, http_redirects=False: not sent, asked: POST /here (with the message)' <<'PY'
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import apprise

logging.disable(logging.CRITICAL)
asked = []


class Service(BaseHTTPRequestHandler):
    status = 307

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked.append(f"{self.command} {self.path}" + (" (with the message)" if b"hello" in body else ""))
        is_first = self.path == "/here"
        self.send_response(self.status if is_first else 200)
        if is_first:
            self.send_header("Location", "/there")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
for status, options in ((307, {}), (302, {}), (302, {"http_redirects": False})):
    Service.status = status
    asked.clear()
    sender = apprise.Apprise(asset=apprise.AppriseAsset(storage_mode="memory", **options))
    sender.add(f"json://127.0.0.1:{server.server_port}/here")
    name = f"{status}, http_redirects=False" if options else status
    print(f"{name}: {'sent' if sender.notify('hello') else 'not sent'}, asked: {', '.join(asked)}")
PY
