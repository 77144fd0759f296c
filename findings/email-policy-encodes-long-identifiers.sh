#!/usr/bin/env bash
# Python's email policies fold a header that they have no class for as prose: a URL or an identifier longer than a line
# becomes an encoded word, which a mail program does not decode there (RFC 2047, section 5: not within a structured field).
. "$(dirname "$0")/common.sh"
packages
seen 'List-Unsubscribe of 60 characters: as written
List-Unsubscribe of 120 characters: =?utf-8?q?...
References of 120 characters: =?utf-8?q?...' <<'PY'
from email.message import EmailMessage
from email.policy import SMTP

for name, length in (("List-Unsubscribe", 60), ("List-Unsubscribe", 120), ("References", 120)):
    value = "<https://shop.example/unsubscribe?token=".ljust(length - 1, "a") + ">"
    message = EmailMessage(policy=SMTP)
    message[name] = value
    sent = message.as_bytes().decode().removeprefix(f"{name}: ").strip()
    print(f"{name} of {length} characters:", "as written" if sent == value else sent[:10] + "...")
PY
