"""The slack action."""

from __future__ import annotations

from typing import ClassVar

from gateway.plugin import Action, Settings


class SlackSettings(Settings):
    """To come."""


class Slack(Action[SlackSettings]):
    """To come."""

    name: ClassVar[str] = "slack"
    Settings: ClassVar[type[Settings]] = SlackSettings
