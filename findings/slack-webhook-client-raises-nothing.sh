#!/usr/bin/env bash
# Of slack_sdk's two clients one raises when Slack refuses a message, and the other, for incoming webhooks, returns the refusal:
# who exchanges the one for the other loses each message to an archived channel, and `if not response` does not notice either.
. "$(dirname "$0")/common.sh"
packages slack_sdk==3.48.0
seen "WebClient.chat_postMessage: SlackApiError
WebhookClient.send: returns 410 channel_is_archived, bool() is True" <<'PY'
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient


class Slack(BaseHTTPRequestHandler):
    """Refuses as Slack does: its API by ok: false, an incoming webhook by a status and a word."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        api = self.path.endswith("chat.postMessage")
        self.send_response(200 if api else 410)
        self.end_headers()
        self.wfile.write(b'{"ok": false, "error": "is_archived"}' if api else b"channel_is_archived")

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Slack)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}/"
try:
    WebClient("xoxb-1", base_url=address).chat_postMessage(channel="C1", text="Order 7 is paid")
    print("WebClient.chat_postMessage: ok")
except SlackApiError as error:
    print(f"WebClient.chat_postMessage: {type(error).__name__}")
response = WebhookClient(address).send(text="Order 7 is paid")
print(f"WebhookClient.send: returns {response.status_code} {response.body}, bool() is {bool(response)}")
PY
