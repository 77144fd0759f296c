"""How an error tells what somebody else said: nothing that must not be shown, on one line, and not too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LOOKED_AT = 16  # times what is shown: blanks and control characters are squeezed

_HIDING: ContextVar[Callable[[str], str] | None] = ContextVar("hiding", default=None)


@contextmanager
def hiding(mask: Callable[[str], str]) -> Iterator[None]:
    """What `quoted` hides while the block runs: the secrets of the configuration, and what accounts redact."""
    token = _HIDING.set(mask)
    try:
        yield
    finally:
        _HIDING.reset(token)


def quoted(text: str, most: int) -> str:
    """What a destination said, for the message of an error: on one line, without control characters, of `most`
    characters at most. What must not be shown is hidden first, because half of a secret would be found by nobody.
    """
    mask = _HIDING.get()
    shown = (mask(text) if mask is not None else text)[: _LOOKED_AT * most]
    return " ".join("".join(character if character.isprintable() else " " for character in shown).split())[:most]
