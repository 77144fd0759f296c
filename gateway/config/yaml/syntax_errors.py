"""libyaml's errors in plain words, at the place that a person has to look at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import yaml

_PLAIN: tuple[tuple[str, str, str | None], ...] = (  # libyaml's words, ours, and what mends it
    ("found character that cannot start any token", "a value cannot begin with this character", "put it in quotes"),
    ("found a tab character", "a tab where spaces are needed", "indent with spaces"),
    (
        "mapping values are not allowed in this context",
        "a second `: ` in one value, or a key that is indented too far",
        "put a value with `: ` in quotes; indent the keys of one mapping alike",
    ),
    ("could not find expected ':'", "a key without its `:`", "write `key: value`, with a space after the colon"),
    ("did not find expected key", "expected a key of this mapping", "indent the keys of one mapping alike; put a value that goes on after its quotes into one pair of quotes"),
    ("did not find expected '-' indicator", "expected the next `- ` of this list", "indent the items of one list alike"),
    ("did not find expected ',' or '}'", "expected , or } here", "a comma between entries, and a } at the end"),
    ("did not find expected ',' or ']'", "expected , or ] here", "a comma between items, and a ] at the end"),
    ("did not find expected node content", "expected a value here", "put it in quotes if it begins with a sign"),
    ("block sequence entries are not allowed in this context", "a list cannot begin here", "begin it on the next line"),
    ("block mapping keys are not allowed in this context", "a mapping cannot begin here", "begin it on the next line"),
    ("block collections are not allowed in this context", "a list or a mapping cannot begin here", None),
    ("found unexpected end of stream", "the file ends inside quotes", "close the quotes"),
    ("found unexpected document indicator", "--- or ... inside quotes", "close the quotes"),
    ("found unknown escape character", "there is no such escape in double quotes", "write \\\\ for a backslash, or use single quotes"),
    ("did not find expected hexdecimal number", "an escape without its hexadecimal digits", "write \\\\ for a backslash"),
    ("did not find expected alphabetic or numeric character", "a name of an anchor or alias is missing", "put a text that begins with & or * in quotes"),
    ("found undefined alias", "an alias to an anchor that is not there", "put a text that begins with * in quotes"),
    ("found duplicate anchor", "this anchor is there twice", "give it another name"),
    ("but found another document", "a second document begins here", "gateway.yaml holds one: take out the ---"),
    ("did not find expected <document start>", "something stands after the end of the document", "is the first line indented?"),
    ("did not find expected comment or line break", "something stands where a line must end", "a `#` needs a space before it"),
    ("did not find the expected whitespace", "a space is missing here", None),
    ("found undefined tag handle", "a ! that begins no known tag", "put the value in quotes"),
    ("found invalid", "a sign with a meaning in YAML at a place where it has none", "put the value in quotes"),
)  # fmt: skip
_CONTEXTS = {
    "flow mapping": "the { opened",
    "flow sequence": "the [ opened",
    "block mapping": "the mapping began",
    "block collection": "the list began",
    "quoted scalar": "the quotes opened",
    "first occurrence": "first",
}
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BARE_TEMPLATE = re.compile(r"(?:^|[{,])\s*(?:-\s+)*(?:[\w.-]+:\s+)?(\{\{|\{%)", re.M)
_KEY = re.compile(r"\s*(?:-\s+)*[^\s#'\"\[{][^#]*?:(?:\s|$)")


@dataclass(frozen=True, slots=True)
class YamlSyntaxError:
    """What is no YAML: offsets are characters of the text; `context` is another place and its word."""

    message: str
    hint: str | None
    offset: int
    context: tuple[str, int] | None = None


def syntax_error_of(
    error: yaml.YAMLError | RecursionError | ValueError, text: str, line_starts: list[int]
) -> YamlSyntaxError:
    """The words for an error of `yaml.compose`."""
    if not isinstance(error, yaml.MarkedYAMLError):
        control = _CONTROL.search(text)
        if control is not None:
            return YamlSyntaxError(
                f"the character U+{ord(control[0]):04X} is not allowed in YAML", "take it out", control.start()
            )
        if isinstance(error, RecursionError):
            return YamlSyntaxError("nested too deeply", None, 0)
        return YamlSyntaxError(f"not YAML: {str(error).splitlines()[0]}", None, 0)
    mark = error.problem_mark or error.context_mark
    offset = _offset(mark, text, line_starts)
    problem = error.problem or error.context or ""
    message, hint = next(
        ((ours, mend) for theirs, ours, mend in _PLAIN if theirs in problem or theirs in (error.context or "")),
        (problem, None),
    )
    if text[offset : offset + 1] == "\t":
        message, hint = "a tab where spaces are needed", "indent with spaces"
    elif offset >= len(text.rstrip()) and "quoted" not in (error.context or ""):
        message, hint = "the file ends too early", None
    line = _line_of(offset, line_starts)
    bare = _BARE_TEMPLATE.search(text, line_starts[line])
    if bare is not None and _line_of(bare.start(1), line_starts) == line:
        return YamlSyntaxError("a value that begins with {{ must stand in quotes", 'write "{{ ... }}"', bare.start(1))
    if text.startswith("${", offset - 1) and "flow" in (error.context or ""):
        return YamlSyntaxError("inside { } and [ ], a ${...} must stand in quotes", 'write "${...}"', offset - 1)
    if "mapping values are not allowed" in problem:
        return _misplaced_key(text, line_starts, line, offset)
    if error.context_mark is not None and "quoted scalar" in (error.context or "") and "end of stream" in problem:
        return YamlSyntaxError("these quotes are never closed", hint, _offset(error.context_mark, text, line_starts))
    context = None
    if error.context_mark is not None and error.problem_mark is not None:
        word = next((word for theirs, word in _CONTEXTS.items() if theirs in (error.context or "")), None)
        place = _offset(error.context_mark, text, line_starts)
        if word is not None and place != offset:
            context = word, place
    return YamlSyntaxError(message, hint, offset, context)


def _offset(mark: yaml.Mark | None, text: str, line_starts: list[int]) -> int:
    if mark is None:
        return 0
    if mark.line >= len(line_starts):
        return len(text)
    return min(line_starts[mark.line] + mark.column, len(text))


def _line_of(offset: int, line_starts: list[int]) -> int:
    line = 0
    for i, start in enumerate(line_starts):
        if start > offset:
            break
        line = i
    return line


def _misplaced_key(text: str, line_starts: list[int], line: int, offset: int) -> YamlSyntaxError:
    """A `: ` where none can be: the line above lacks its own, or this one is indented too far, or has two."""
    lines = [text[start:end].rstrip() for start, end in pairwise([*line_starts[: line + 1], len(text)])]
    here = text[line_starts[line] :].split("\n", 1)[0]
    begin = line_starts[line] + len(here) - len(here.lstrip())
    above = next((i for i in range(line - 1, -1, -1) if lines[i].strip() and lines[i].lstrip()[0] != "#"), None)
    if ": " in text[begin:offset] or above is None:
        return YamlSyntaxError("a second `: ` in one value", "put the whole value in quotes", offset)
    start = line_starts[above] + len(lines[above]) - len(lines[above].lstrip())
    if _KEY.match(lines[above]) is None:
        return YamlSyntaxError("a line without `: `", "write `key: value`, with a space after the colon", start)
    return YamlSyntaxError(
        "this key is indented further than the one above it, which has its value already",
        "indent the keys of one mapping alike",
        begin,
        ("the one above", start),
    )
