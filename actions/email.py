"""The email action."""

from __future__ import annotations

from typing import ClassVar

from gateway.plugin import Action, Settings


class EmailSettings(Settings):
    """To come."""


class Email(Action[EmailSettings]):
    """To come."""

    name: ClassVar[str] = "email"
    Settings: ClassVar[type[Settings]] = EmailSettings
