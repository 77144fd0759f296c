"""Posts to Slack. A second run may post twice: Slack has no idempotency key; only failed attempts are repeated."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from actions.slack_errors import HINTS
from actions.slack_limits import MOST_TEXT, cut, cut_blocks, faults, too_long
from gateway.plugin import (
    Action,
    Connection,
    Context,
    Fault,
    Finding,
    ProbeContext,
    Reject,
    Retry,
    Settings,
    SlackConnection,
    Text,
    quoted,
    retry_after_seconds,
)
from gateway.plugin.web_client import WebClient, read_text, sending

_PASSING = frozenset(
    ("ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout")
)
_PASSING_DEFAULT_SECONDS = 30.0
_MOST_BYTES = 64 * 1024
_SHOWN_CHARACTERS = 400
_NEEDS_TOKEN = "channel and thread_ts need a bot token; an incoming webhook has its own channel"  # noqa: S105
_NEEDS_CHANNEL = "a bot token needs a channel"


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

    unfurl: bool | None = Field(
        None,
        description="Whether Slack shows previews of links and media. Left out: as Slack does by itself.",
        examples=[False],
    )
    cut: bool = Field(
        False,
        description="Texts that are longer than Slack takes are cut, with … at their end; else Slack refuses them.",
        examples=[True],
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

    async def open(self, connection: SlackConnection, base_folder: str) -> WebClient:
        """One client."""
        return WebClient(connection, base_folder)

    async def close(self, resource: WebClient) -> None:
        """Closes it."""
        await resource.close()

    def faults(self, written: Mapping[str, Any], connection: SlackConnection | None) -> Iterable[Fault]:
        """What Slack takes of nobody, and what the connection cannot do."""
        text, is_cut = written.get("text"), written.get("cut") is True
        if isinstance(text, str) and len(text) > MOST_TEXT and not is_cut:
            yield too_long(("text",), len(text), MOST_TEXT)
        yield from faults(written.get("blocks"), is_cut=is_cut)
        is_bot = connection is None or bool(connection.token.get_secret_value())
        for key in ("channel", "thread_ts"):
            if written.get(key) and not is_bot:
                yield Fault((key,), _NEEDS_TOKEN, is_of_key=True)
        if connection is not None and is_bot and not connection.channel and not written.get("channel"):
            yield Fault(("connection",), f"{_NEEDS_CHANNEL}, here or in the connection")

    def rehearse(self, settings: SlackSettings, context: Context) -> None:
        """Makes the request."""
        _request(settings, context.connection)

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """The token is asked of auth.test. A webhook gets an empty message, which Slack refuses as such where it
        is good. https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
        """
        from actions.slack_probe import probed

        connection: SlackConnection = context.connection
        async for finding in probed(context.resource, connection, context.timeout_seconds):
            yield finding
        token = connection.token.get_secret_value()
        for use in context.uses:
            if not token and (use.settings.get("channel") or use.settings.get("thread_ts")):
                yield Finding.bad(_NEEDS_TOKEN, "give the connection a token, or leave them out", use=use.place)
            elif token and not connection.channel and not use.settings.get("channel"):
                yield Finding.bad(_NEEDS_CHANNEL, "give channel, here or in the connection", use=use.place)

    async def is_reached(self, connection: SlackConnection, resource: WebClient) -> bool:
        """Somebody listens there, or at the proxy; nothing is sent."""
        return await resource.is_listening(connection.webhook_url.get_secret_value() or connection.api_url)

    async def run(self, settings: SlackSettings, context: Context) -> Mapping[str, Any]:
        """Posts once. Output: ts, channel."""
        url, headers, message = _request(settings, context.connection)
        exchange = context.sends(f"POST {url if headers else 'to its webhook_url'}", headers.items(), message)
        with sending():
            async with context.resource.request(
                "POST", url, json=message, headers=headers, timeout_seconds=context.timeout_seconds
            ) as response:
                text, _ = await read_text(response, _MOST_BYTES)
                exchange.answered(f"{response.status} {response.reason}", response.headers.items(), text)
        after = retry_after_seconds(response.headers.get("Retry-After"), context.now())
        return _judged(response.status, text.strip(), after, is_bot="Authorization" in headers)


def _judged(status: int, text: str, after: float | None, *, is_bot: bool) -> Mapping[str, Any]:
    """The output, where the message was posted; else raises what to do."""
    if status == 429:
        raise _limited(after)
    if status >= 500:
        raise Retry(f"Slack answered {status}", after_seconds=after)
    if 300 <= status < 400:
        raise Reject(f"answered {status}, a redirect, which is never followed; put the final address in the connection")
    answer = _object(text)
    if text.startswith("<") or (is_bot and answer is None):  # a proxy's or a company's sign-in page, as a rule
        raise Retry(f"what answered {status} is not Slack: look at the connection's address and its proxy")
    if answer is not None and (answer.get("ok", answer.get("success", status < 300)) is not True):
        word = quoted(str(answer.get("error") or (status if status >= 300 else "unknown")), 80)
        if word in ("ratelimited", "rate_limited"):
            raise _limited(after)
        if word in _PASSING:
            raise Retry(f"Slack says {word}")
        raise Reject(_explained(word, _details(answer)))
    if status >= 300:
        raise Reject(_explained(quoted(text, 80) or str(status)))
    posted = answer or {}  # a webhook says "ok"; others that speak as Slack does say it with 202 and 204
    return {"ts": posted.get("ts"), "channel": posted.get("channel")}


def _request(settings: SlackSettings, connection: SlackConnection) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Where to, with which headers, and the message. Raises Reject."""
    token = connection.token.get_secret_value()
    webhook = connection.webhook_url.get_secret_value()
    message: dict[str, Any] = {
        name: value for name in ("text", "blocks", "thread_ts") if (value := getattr(settings, name)) is not None
    }
    if settings.cut:
        message = {name: cut_blocks(value) if name == "blocks" else value for name, value in message.items()}
        message |= {"text": cut(settings.text, MOST_TEXT)} if settings.text is not None else {}
    if settings.unfurl is not None:
        message |= {"unfurl_links": settings.unfurl, "unfurl_media": settings.unfurl}
    if token:
        channel = settings.channel or connection.channel
        if not channel:
            raise Reject(f"{_NEEDS_CHANNEL}, here or in the connection")
        url = connection.api_url.rstrip("/") + "/chat.postMessage"
        return url, {"Authorization": f"Bearer {token}"}, {**message, "channel": channel}
    if not webhook:
        raise Reject(f"the connection {settings.connection} has neither webhook_url nor token")
    if settings.channel or settings.thread_ts:
        raise Reject(_NEEDS_TOKEN)
    return webhook, {}, message


def _object(text: str) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _details(answer: Mapping[str, Any]) -> str:
    """What Slack says besides the word of an error: which block, which scope."""
    metadata = answer.get("response_metadata")
    texts = [*_texts(metadata.get("messages") if isinstance(metadata, dict) else ()), *_texts(answer.get("errors"))]
    texts += [f"needed: {needed}" for needed in [answer.get("needed")] if isinstance(needed, str)]
    return quoted("; ".join(dict.fromkeys(text.removeprefix("[ERROR] ") for text in texts)), _SHOWN_CHARACTERS)


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _limited(after: float | None) -> Retry:
    seconds = after if after is not None else _PASSING_DEFAULT_SECONDS
    return Retry(f"Slack asks to wait {seconds:g} s", after_seconds=seconds, pause_seconds=seconds)


def _explained(word: str, details: str = "") -> str:
    hint = HINTS.get(word)
    return f"Slack says {word}" + (f" ({details})" if details else "") + (f": {hint}" if hint else "")
