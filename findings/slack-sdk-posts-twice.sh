#!/usr/bin/env bash
# slack_sdk tries once more of itself when a connection ends without an answer, which is no sign that Slack has not taken the
# message: chat_postMessage, and the client of incoming webhooks, post it twice and tell of one. retry_handlers=[] turns that off.
. "$(dirname "$0")/common.sh"
packages slack_sdk==3.48.0
seen "WebClient.chat_postMessage: ok, posted 2 times
WebhookClient.send: ok, posted 2 times
WebClient with retry_handlers=[]: RemoteDisconnected, posted 1 times" <<'PY'
import threading
from http.client import RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from slack_sdk import WebClient
from slack_sdk.webhook import WebhookClient

posted = []


class Slack(BaseHTTPRequestHandler):
    """Takes each message; the answer to the first is lost."""

    def do_POST(self):
        posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.close_connection = True
        if len(posted) > 1:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"ok": true}')

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Slack)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}/"
message = {"channel": "C1", "text": "Order 7 is paid"}
for name, post in {
    "WebClient.chat_postMessage": lambda: WebClient("xoxb-1", base_url=address).chat_postMessage(**message),
    "WebhookClient.send": lambda: WebhookClient(address).send(text=message["text"]),
    "WebClient with retry_handlers=[]": lambda: WebClient(
        "xoxb-1", base_url=address, retry_handlers=[]
    ).chat_postMessage(**message),
}.items():
    posted.clear()
    try:
        post()
        outcome = "ok"
    except RemoteDisconnected as error:
        outcome = type(error).__name__
    print(f"{name}: {outcome}, posted {len(posted)} times")
PY
