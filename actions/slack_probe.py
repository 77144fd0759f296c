"""Asks Slack whether a token or a webhook is good; posts nothing."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp

from actions.slack_errors import HINTS
from gateway.plugin import Finding, SlackConnection, quoted
from gateway.plugin.web_client import WebClient, read_text

_MOST_BYTES = 64 * 1024


async def probed(client: WebClient, connection: SlackConnection, timeout_seconds: float) -> AsyncIterator[Finding]:
    """What Slack says of the connection."""
    token = connection.token.get_secret_value()
    webhook = connection.webhook_url.get_secret_value()
    if not token and not webhook:
        yield Finding.bad("has neither webhook_url nor token", "give one of them")
        return
    url = connection.api_url.rstrip("/") + "/auth.test" if token else webhook
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with client.request("POST", url, json={}, headers=headers, timeout_seconds=timeout_seconds) as response:
            text, _ = await read_text(response, _MOST_BYTES)
    except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one
        cause = getattr(error, "os_error", None) or getattr(error, "strerror", None) or type(error).__name__
        yield Finding.bad(f"{urlsplit(url).hostname} does not answer: {cause}", "look at network and address")
        return
    if response.status == 429 or response.status >= 500:
        yield Finding.note(f"Slack answers {response.status}: not to be known now", "ask again later")
    elif token:
        yield _token_finding(text, response.headers.get("x-oauth-scopes"))
    else:
        yield _webhook_finding(response.status, text.strip())


def _token_finding(text: str, scopes: str | None) -> Finding:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return Finding.bad("what answers is not Slack's Web API", "look at api_url")
    if not answer.get("ok"):
        word = quoted(str(answer.get("error", "unknown")), 80)
        return Finding.bad(f"Slack says {word}", HINTS.get(word, "look the word up among the errors of auth.test"))
    who = f"{answer.get('user', 'the bot')} in {answer.get('team', 'its workspace')}"
    if scopes is not None and "chat:write" not in re.split(r"[,\s]+", scopes):
        return Finding.bad(f"the token of {who} lacks the scope chat:write", HINTS["missing_scope"])
    return Finding.good(f"the token is good: {who}")


def _webhook_finding(status: int, text: str) -> Finding:
    if status == 400 and text in ("no_text", "invalid_payload", "missing_text_or_fallback_or_attachments"):
        return Finding.good("the webhook is good: it refuses an empty message, and nothing was posted")
    if 200 <= status < 300:
        return Finding.bad("what answers is not Slack: it took an empty message", "look at webhook_url")
    word = quoted(text, 80) if text.isprintable() else ""
    fix = HINTS.get(word, "make a new webhook in the Slack app's settings, and put it into webhook_url")
    return Finding.bad(f"Slack answers {status}" + (f": {word}" if word else ""), fix)
