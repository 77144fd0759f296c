"""What an action sends, for a person to look at: made anew from what was rendered, nothing is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RequestPreview:
    """A request over HTTP. Secrets in it are those that the connection was given: the console gives it names."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MailPreview:
    """A mail as it goes out (RFC 5322), without what is fetched for it."""

    message: bytes = field(repr=False)


Preview = RequestPreview | MailPreview
