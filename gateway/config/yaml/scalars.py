"""From a scalar's value back to the characters of the file that it was made of, for every way of writing it in YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BREAKS = r"\r\n\x85\u2028\u2029"
_PIECES = {
    '"': re.compile(
        rf"\\(?:x[0-9a-fA-F]{{2}}|u[0-9a-fA-F]{{4}}|U[0-9a-fA-F]{{8}}|\r\n|.|[{_BREAKS}])|[^\\{_BREAKS}]+", re.DOTALL
    ),
    "'": re.compile(rf"''|[^'{_BREAKS}]+"),
}
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")  # an anchor, a tag
_RUN = re.compile(rf"[^{_BREAKS}]+")
_ESCAPES = dict(zip('0abt\tnvfre "/\\N_LP', '\0\a\b\t\t\n\v\f\r\x1b "/\\\x85\xa0\u2028\u2029', strict=True))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of the value, and where it stands in the file; the lengths differ where the file writes an escape."""

    value_start: int
    raw_start: int
    length: int
    raw_length: int


class ScalarMap:
    """Where each character of one scalar's value stands in the file's text; None where that cannot be known."""

    def __init__(self, text: str, start: int, end: int, style: str | None, value: str) -> None:
        self._pieces = _pieces(text, start, end, style, value)
        self._end = end

    def offset(self, index: int) -> int | None:
        """The file's offset of a character of the value."""
        if self._pieces is None:
            return None
        offset = None
        for piece in self._pieces:
            if piece.value_start > index:
                break
            inside = index - piece.value_start
            offset = piece.raw_start + (
                inside
                if inside < piece.length and piece.length == piece.raw_length
                else 0
                if inside < piece.length
                else piece.raw_length
            )
        return offset if offset is not None else (self._pieces[0].raw_start if self._pieces else None)


def _pieces(text: str, start: int, end: int, style: str | None, value: str) -> list[_Piece] | None:
    pattern = _PIECES.get(style or "", _RUN)
    properties = _PROPERTIES.match(text, start, end)
    start = properties.end() if properties else start
    if style in ("'", '"'):
        start, end = start + 1, end - 1
    elif style in ("|", ">"):
        header = _RUN.match(text, start, end)  # the indicators, and maybe a comment
        start = header.end() if header else end
    pieces: list[_Piece] = []
    position = 0
    for match in pattern.finditer(text, start, end):
        raw, raw_start = match[0], match.start()
        if style == '"' and raw[0] == "\\":
            unescaped = _unescaped(raw)
        elif style == "'" and raw == "''":
            unescaped = "'"
        else:
            unescaped = raw.strip(" \t")
            raw_start += len(raw) - len(raw.lstrip(" \t"))
            raw = unescaped
        if not unescaped:
            continue
        index = value.find(unescaped, position)
        if index < 0 or value[position:index].strip():
            return None
        pieces.append(_Piece(index, raw_start, len(unescaped), len(raw)))
        position = index + len(unescaped)
    return None if value[position:].strip() else pieces


def _unescaped(escape: str) -> str:
    kind = escape[1]
    if kind in "xuU":
        return chr(int(escape[2:], 16))
    return _ESCAPES.get(kind, "")
