"""Connections of type `slack`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

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
