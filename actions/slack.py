"""Posts to Slack. A second run may post twice: Slack has no idempotency key; only failed attempts are repeated."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from gateway.plugin import (
    Action,
    Connection,
    Context,
    Finding,
    ProbeContext,
    Reject,
    Retry,
    Settings,
    SlackConnection,
    Text,
    guarded_session,
    refusal,
    retry_after_seconds,
)

if TYPE_CHECKING:  # takes long to import: `gateway check` does without
    import aiohttp

_HINTS = {
    "channel_not_found": "there is no such channel, or the bot cannot see it",
    "not_in_channel": "invite the bot to the channel",
    "is_archived": "the channel is archived",
    "channel_is_archived": "the channel is archived",
    "invalid_auth": "the token is wrong",
    "not_authed": "the token is missing",
    "account_inactive": "the token belongs to a deleted user or workspace",
    "token_revoked": "the token was revoked",
    "missing_scope": "give the bot the scope chat:write",
    "no_service": "the webhook was removed or its app disabled; make a new one",
    "no_team": "the webhook's workspace is gone",
    "action_prohibited": "an admin of the workspace forbids it",
    "posting_to_general_channel_denied": "an admin restricts that channel",
    "invalid_payload": "Slack could not read the message; look at blocks",
    "invalid_blocks": "Slack could not read blocks; try them in its Block Kit Builder",
    "no_text": "the message is empty",
    "msg_too_long": "the text is longer than Slack takes",
}
_PASSING = frozenset(
    ("ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout")
)
_PASSING_DEFAULT_SECONDS = 30.0


def escape(text: str) -> str:
    """What Slack asks to escape, so that a customer's name cannot say <!channel>.

    https://docs.slack.dev/messaging/formatting-message-text
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class SlackSettings(Settings):
    """`with` of slack."""

    connection: Annotated[str, Connection(SlackConnection)] = Field(
        description="A connection of type slack.", examples=["sales"]
    )
    text: Annotated[str | None, Text(escape=escape)] = Field(
        None,
        description="The message, in Slack's mrkdwn; this, blocks, or both.",
        examples=["New order: {{ object.amount_total | money(object.currency) }}"],
    )
    blocks: Annotated[list[Any] | None, Text(escape=escape)] = Field(
        None,
        description="Block Kit; text is the fallback.",
        examples=[[{"type": "section", "text": {"type": "mrkdwn", "text": "*{{ object.id }}*"}}]],
    )
    channel: str | None = Field(
        None, description="Instead of the connection's; only with a token.", examples=["#big-orders"]
    )
    thread_ts: str | None = Field(
        None,
        description="The ts of the message to answer; only with a token.",
        examples=["{{ steps.tell.output.ts }}"],
    )

    @classmethod
    def check(cls, written: Mapping[str, Any]) -> Iterable[str]:
        """Text or blocks."""
        if not written.get("text") and not written.get("blocks"):
            yield "give text or blocks"


class Slack(Action[SlackSettings]):
    """Posts a message by an incoming webhook, or by a bot token with chat.postMessage."""

    name: ClassVar[str] = "slack"
    Settings: ClassVar[type[Settings]] = SlackSettings

    async def open(self, connection: SlackConnection, base_folder: str) -> aiohttp.ClientSession:
        """One session."""
        return guarded_session(allow_private=True, limit=connection.concurrency)

    async def close(self, resource: aiohttp.ClientSession) -> None:
        """Closes the session."""
        await resource.close()

    def rehearse(self, settings: SlackSettings, context: Context) -> None:
        """Makes the request."""
        _request(settings, context.connection)

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """The token is asked of auth.test. A webhook gets an empty message, which Slack refuses as such where it
        is good. https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
        """
        import aiohttp

        connection: SlackConnection = context.connection
        token = connection.token.get_secret_value()
        webhook = connection.webhook_url.get_secret_value()
        if not token and not webhook:
            yield Finding.bad("has neither webhook_url nor token", "give one of them")
            return
        url = connection.api_url.rstrip("/") + "/auth.test" if token else webhook
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = aiohttp.ClientTimeout(total=context.timeout_seconds)
        try:
            async with context.resource.post(
                url, json={}, headers=headers, allow_redirects=False, timeout=timeout
            ) as response:
                text = (await response.content.read(65536)).decode("utf-8", "replace")
                scopes = response.headers.get("x-oauth-scopes")
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            cause = getattr(error, "os_error", None) or type(error).__name__
            yield Finding.bad(f"{urlsplit(url).hostname} does not answer: {cause}", "look at network and address")
            return
        if status == 429 or status >= 500:
            yield Finding.note(f"Slack answers {status}: not to be known now", "ask again later")
        elif token:
            yield _token_finding(text, scopes)
        else:
            yield _webhook_finding(status, text.strip())
        for use in context.uses:
            if not token and (use.settings.get("channel") or use.settings.get("thread_ts")):
                text = "channel and thread_ts need a bot token; an incoming webhook has its own channel"
                yield Finding.bad(text, "give the connection a token, or leave them out", use=use.place)
            elif token and not connection.channel and not use.settings.get("channel"):
                text = "a bot token needs a channel"
                yield Finding.bad(text, "give channel, here or in the connection", use=use.place)

    async def run(self, settings: SlackSettings, context: Context) -> Mapping[str, Any]:
        """Posts once. Output: ts, channel."""
        import aiohttp

        url, headers, message = _request(settings, context.connection)
        timeout = aiohttp.ClientTimeout(total=context.timeout_seconds)
        try:
            async with context.resource.post(
                url, json=message, headers=headers, allow_redirects=False, timeout=timeout
            ) as response:
                text = (await response.content.read(65536)).decode("utf-8", "replace")
                after = retry_after_seconds(response.headers.get("Retry-After"), context.now())
                status = response.status
                answer = json.loads(text) if headers and status == 200 else None
        except aiohttp.ClientConnectorError as error:
            if reason := refusal(error.os_error):
                raise Reject(reason) from None
            raise Retry(f"cannot connect to Slack: {error.os_error}") from None
        except (aiohttp.ClientError, ValueError) as error:
            raise Retry(f"Slack broke off: {type(error).__name__}") from None
        if status == 429:
            raise _limited(after)
        if status >= 500:
            raise Retry(f"Slack answered {status}", after_seconds=after)
        if status != 200:
            raise Reject(_explained(text.strip()[:80] or str(status)))
        if answer is None:
            return {"ts": None, "channel": None}
        if answer.get("ok"):
            return {"ts": answer.get("ts"), "channel": answer.get("channel")}
        word = str(answer.get("error", "unknown"))
        if word in ("ratelimited", "rate_limited"):
            raise _limited(after)
        if word in _PASSING:
            raise Retry(f"Slack says {word}")
        raise Reject(_explained(word))


def _request(settings: SlackSettings, connection: SlackConnection) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Where to, with which headers, and the message. Raises Reject."""
    token = connection.token.get_secret_value()
    webhook = connection.webhook_url.get_secret_value()
    message: dict[str, Any] = {
        name: value for name in ("text", "blocks", "thread_ts") if (value := getattr(settings, name)) is not None
    }
    if token:
        channel = settings.channel or connection.channel
        if not channel:
            raise Reject("a bot token needs a channel, here or in the connection")
        url = connection.api_url.rstrip("/") + "/chat.postMessage"
        return url, {"Authorization": f"Bearer {token}"}, {**message, "channel": channel}
    if not webhook:
        raise Reject(f"the connection {settings.connection} has neither webhook_url nor token")
    if settings.channel or settings.thread_ts:
        raise Reject("channel and thread_ts need a bot token; an incoming webhook has its own channel")
    return webhook, {}, message


def _token_finding(text: str, scopes: str | None) -> Finding:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return Finding.bad("what answers is not Slack's Web API", "look at api_url")
    if not answer.get("ok"):
        word = str(answer.get("error", "unknown"))[:80]
        return Finding.bad(f"Slack says {word}", _HINTS.get(word, "look the word up among the errors of auth.test"))
    who = f"{answer.get('user', 'the bot')} in {answer.get('team', 'its workspace')}"
    if scopes is not None and "chat:write" not in re.split(r"[,\s]+", scopes):
        return Finding.bad(f"the token of {who} lacks the scope chat:write", _HINTS["missing_scope"])
    return Finding.good(f"the token is good: {who}")


def _webhook_finding(status: int, text: str) -> Finding:
    if status == 400 and text in ("no_text", "invalid_payload", "missing_text_or_fallback_or_attachments"):
        return Finding.good("the webhook is good: it refuses an empty message, and nothing was posted")
    if 200 <= status < 300:
        return Finding.bad("what answers is not Slack: it took an empty message", "look at webhook_url")
    word = text[:80] if text.isprintable() else ""
    fix = _HINTS.get(word, "make a new webhook in the Slack app's settings, and put it into webhook_url")
    return Finding.bad(f"Slack answers {status}" + (f": {word}" if word else ""), fix)


def _limited(after: float | None) -> Retry:
    seconds = after if after is not None else _PASSING_DEFAULT_SECONDS
    return Retry(f"Slack asks to wait {seconds:g} s", after_seconds=seconds, pause_seconds=seconds)


def _explained(word: str) -> str:
    hint = _HINTS.get(word)
    return f"Slack says {word}" + (f": {hint}" if hint else "")
