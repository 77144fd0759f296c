"""Connections of type `slack`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from gateway.plugin.action import Fault
from gateway.plugin.connections.web import WebConnection
from gateway.plugin.types import Url, check_url


class SlackConnection(WebConnection):
    """A Slack workspace: an incoming webhook, or a bot token."""

    type: Literal["slack"]
    webhook_url: SecretStr = Field(
        SecretStr(""),
        description="An incoming webhook, which has a channel of its own.",
        examples=["${SLACK_WEBHOOK_URL}"],
    )
    token: SecretStr = Field(
        SecretStr(""),
        description="A bot token with the scope chat:write, instead of a webhook.",
        examples=["${SLACK_BOT_TOKEN}"],
    )
    channel: str = Field("", description="Where a bot posts, unless the action says otherwise.", examples=["#orders"])
    api_url: Url = Field(
        "https://slack.com/api", description="Where the Web API answers.", examples=["https://slack-gov.com/api"]
    )

    @field_validator("webhook_url")
    @classmethod
    def _webhook(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            check_url(value.get_secret_value())
        return value

    def addresses(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Besides the proxy, Slack."""
        yield ("webhook_url",), self.webhook_url.get_secret_value()
        yield ("api_url",), self.api_url
        yield from super().addresses()

    def faults(self, folder: Path) -> Iterable[Fault]:
        """Nothing to post with, or a token that posts nothing."""
        yield from super().faults(folder)
        token = self.token.get_secret_value()
        if not token and not self.webhook_url.get_secret_value():
            yield Fault(("webhook_url",), "has neither webhook_url nor token", "give one of them")
        if token.startswith("xapp-"):
            yield Fault(("token",), "this is an app-level token, which posts nothing", "give the bot's, xoxb-...")
        elif not (token.isascii() and token.isprintable()) or " " in token:
            yield Fault(("token",), "there are characters in it that no token has", "take out spaces and line breaks")
