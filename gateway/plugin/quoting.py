"""How an error tells what somebody else said: nothing that must not be shown, on one line, and not too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_LOOKED_AT = 16  # times what is shown: blanks and control characters are squeezed

Mask = Callable[[str], str]


@dataclass(slots=True)
class _Hidden:
    """What is hidden now, in the block and in every task that was begun there: a context that such a task keeps, maybe
    as long as the gateway runs, holds this alone.
    """

    mask: Mask | None
    of_configuration: Mask | None


_HIDDEN: ContextVar[_Hidden | None] = ContextVar("hidden", default=None)


@contextmanager
def hiding(mask: Mask, of_configuration: Mask | None = None) -> Iterator[None]:
    """What `quoted` hides while the block runs: the secrets of the configuration, and what accounts redact. Tasks that
    were begun in it and outlive it hide what `of_configuration` does: its secrets alone.
    """
    hidden = _Hidden(mask, of_configuration)
    token = _HIDDEN.set(hidden)
    try:
        yield
    finally:
        hidden.mask = of_configuration
        _HIDDEN.reset(token)


def quoted(text: str, most: int) -> str:
    """What a destination said, for the message of an error: on one line, without control characters, of `most`
    characters at most. What must not be shown is hidden first, because half of a secret would be found by nobody.
    """
    hidden = _HIDDEN.get()
    shown = (hidden.mask(text) if hidden is not None and hidden.mask is not None else text)[: _LOOKED_AT * most]
    return " ".join("".join(character if character.isprintable() else " " for character in shown).split())[:most]


def without_secrets(text: str) -> str:
    """The same without the configuration's secrets."""
    hidden = _HIDDEN.get()
    return hidden.of_configuration(text) if hidden is not None and hidden.of_configuration is not None else text
