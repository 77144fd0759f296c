"""The http_forward action."""

from __future__ import annotations

from typing import ClassVar

from gateway.plugin import Action, Settings


class HttpForwardSettings(Settings):
    """To come."""


class HttpForward(Action[HttpForwardSettings]):
    """To come."""

    name: ClassVar[str] = "http_forward"
    Settings: ClassVar[type[Settings]] = HttpForwardSettings
