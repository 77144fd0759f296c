"""A text file, by lines as YAML and editors count them."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property

from gateway.core.errors import Where

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


class TextFile:
    """One file that was read; `name` is how messages call it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.is_yaml = True

    @cached_property
    def line_starts(self) -> list[int]:
        """The offset of each line's first character."""
        return [0, *(match.end() for match in _BREAK.finditer(self.text))]

    def line(self, number: int) -> tuple[int, str]:
        """The offset and the text of a line, counted from 1."""
        if not 0 < number <= len(self.line_starts):
            return len(self.text), ""
        start = self.line_starts[number - 1]
        line_break = _BREAK.search(self.text, start)
        return start, self.text[start : line_break.start() if line_break else len(self.text)]

    def where(self, start: int, end: int, path: str) -> Where:
        """The place of a stretch."""
        line = bisect_right(self.line_starts, start)
        first = self.line_starts[line - 1]
        is_one_line = end > start and bisect_right(self.line_starts, end - 1) == line
        return Where(self.name, line, start - first + 1, path, end - first + 1 if is_one_line else 0)
