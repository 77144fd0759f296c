"""What is wrong with a configuration: where, what, and what would mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.errors import GatewayError, Where


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong at one place."""

    where: Where
    message: str
    hint: str | None = None
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        path = f" {self.where.path}:" if self.where.path else ""
        text = f"{self.where.file}:{self.where.line}:{self.where.column}:{path} {self.message}"
        return text + (f"\n    {self.hint}" if self.hint else "")


class ConfigError(GatewayError):
    """A configuration that does not load, with every problem found."""

    def __init__(self, file: str, problems: Sequence[Problem], files: Iterable[Path] = ()) -> None:
        self.files = frozenset(files)  # all that was read or looked for
        self.problems = tuple(sorted(problems, key=lambda p: (p.where.file != file, p.where.file, p.where.line)))
        count = f"{len(self.problems)} problem" + ("" if len(self.problems) == 1 else "s")
        super().__init__("\n".join([f"{count} in {file}", *map(str, self.problems)]))


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the nearest known word, or lists them where none is near."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(names)}" if 0 < len(names) <= 20 else None
