"""What an action would return, where it does not run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class UnknownOutput(Mapping[str, Any]):
    """An output that nobody knows yet. Whoever looks into it fails, and it remembers."""

    def __init__(self, action: str) -> None:
        self._action = action
        self.was_asked = False

    def _ask(self) -> ValueError:
        self.was_asked = True
        return ValueError(f"the output of {self._action} is known once it ran")

    def __getitem__(self, key: str) -> Any:
        raise self._ask()

    def __iter__(self) -> Iterator[str]:
        raise self._ask()

    def __len__(self) -> int:
        raise self._ask()

    def items(self) -> Any:
        """Empty for whoever walks through the whole scope; a template's `.items()` asks by name first."""
        return ()

    def __str__(self) -> str:
        raise self._ask()

    __repr__ = object.__repr__
