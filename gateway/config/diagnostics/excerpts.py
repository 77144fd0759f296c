"""The source line of a problem as it may be shown: with every secret masked, and nothing else changed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from gateway.config.diagnostics.problem import Excerpt, Problem, ProblemNote
from gateway.config.secrets.names import SECRET_KEY, URL_KEY, is_secret_key, is_url_key
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_, characters_of
from gateway.config.yaml.textfile import TextFile
from gateway.config.yaml.variables import VARIABLE
from gateway.core.errors import Where
from gateway.core.masking import MASK

# Of a URL. What could be a login and is none is passed over whole: to look for one at each slash of it is quadratic.
_CREDENTIALS = re.compile(
    r"(?:^|(?<=//))(?:(?P<login>[^\s@?#'\"{}]+)(?=@)|[^\s@?#'\"{}]+)|(?<=\?)(?P<query>[^\s'\"{}#]+)"
)
_LOOKS_SECRET = re.compile(
    r"\b(?:whsec_|sk_live_|sk_test_|rk_live_|rk_test_|[sr]k_org_|xox[a-z]-|xapp-)[^\s'\",\]}]+"
    r"|(?<=://)[^\s/@'\"]+(?=@)|(?<=hooks\.slack\.com/)[^\s'\",\]}]+"
)
_KEY_IN_LINE = re.compile(r"(?P<indent>[\s{,\-]*)['\"]?(?P<key>[A-Za-z_][A-Za-z0-9_.-]*)['\"]?\s*:(?:\s|$)")
_KEY_ANYWHERE = re.compile(
    r"(?P<key>[A-Za-z_][A-Za-z0-9_.-]{0,200})['\"]?\s{0,200}:(?:\s|$)"
)  # bounded: lines may be long
_SHORTEST_SECRET = 6


class Excerpts:
    """Gives problems their excerpts. `secret_paths` are the values that a plugin's own settings declare as secret."""

    def __init__(self, source: Source, secret_paths: Iterable[Path_] = ()) -> None:
        self._folder, self._shown_folder = source.folder, source.path.parent
        self._yaml = frozenset(source.texts)
        self._texts = dict(source.texts)
        self._masked: dict[str, list[tuple[int, int]]] = {}
        self._said: dict[str, str] = {}  # secret -> what is said in its place
        declared = set(secret_paths)
        last_keys = {path[-1] for path in declared}
        secret_keys, url_keys = source.keys_where(is_secret_key), source.keys_where(is_url_key)
        for path, file, node, filled in source.scalars():
            if filled is not None:
                for brought in filled.brought:
                    self._note(brought.value, node.value)
            is_url = bool(path) and path[-1] in url_keys
            is_declared = not last_keys.isdisjoint(path) and any(
                path[:length] in declared for length in range(3, len(path) + 1)
            )
            hides = not secret_keys.isdisjoint(path) or (
                is_declared and not (is_url and not node.value.startswith("http"))
            )
            if not hides and not is_url:
                continue
            spans = [(0, len(node.value))] if hides else _credentials(node.value)
            variables = [match.span() for match in VARIABLE.finditer(node.value)]
            characters = characters_of(file, node)
            for start, end in _without(spans, variables):
                self._note(node.value[start:end], MASK)
                first, last = characters.offset(start), characters.offset(end - 1)
                if first is None or last is None:
                    first, last = node.start_mark.index, node.end_mark.index - 1
                self._masked.setdefault(file.name, []).append((first, last + 1))

    def explain(self, problem: Problem) -> Problem:
        """The same with excerpts, without any secret in its words, and with files named as gateway.yaml is."""
        return dataclasses.replace(
            problem,
            where=self._shown(problem.where),
            message=self._scrubbed(problem.message),
            hint=None if problem.hint is None else self._scrubbed(problem.hint),
            excerpt=self.of(problem.where),
            notes=tuple(ProblemNote(note.text, self._shown(note.where), self.of(note.where)) for note in problem.notes),
        )

    def of(self, where: Where) -> Excerpt | None:
        """The line, or None where there is no such line."""
        file = self._texts.get(where.file) or self._read(where.file)
        if file is None:
            return None
        start, line = file.line(where.line)
        if not line.strip():
            return None
        column = min(where.column - 1, len(line))
        end = min(where.end_column - 1, len(line)) if where.end_column else column
        spans = [(first - start, last - start) for first, last in self._masked.get(file.name, ())]
        spans += [match.span() for match in _LOOKS_SECRET.finditer(line)]
        for secret in self._said:  # where it stands a second time
            spans += [match.span() for match in re.finditer(re.escape(secret), line)] if secret in line else []
        if not file.is_yaml:
            spans += _by_the_look(file, where.line, line)
        return _masked(line, spans, column, max(end, column))

    def _shown(self, where: Where) -> Where:
        """Template files and plugins lie below the folder of gateway.yaml, and are called from there."""
        path = Path(where.file)
        if not path.is_absolute() or where.file in self._yaml or not path.is_relative_to(self._folder):
            return where
        return dataclasses.replace(where, file=str(self._shown_folder / path.relative_to(self._folder)))

    def _note(self, secret: str, instead: str) -> None:
        if len(secret.strip()) >= _SHORTEST_SECRET:
            self._said.setdefault(secret.strip(), instead)

    def _scrubbed(self, text: str) -> str:
        for secret, instead in self._said.items():
            if secret in text:
                text = text.replace(secret, instead)
        return text

    def _read(self, name: str) -> TextFile | None:
        """A file that is no YAML: a template, a plugin."""
        try:
            text = Path(name).read_text(encoding="utf-8-sig", errors="replace")
        except (OSError, ValueError):
            return None
        return self._texts.setdefault(name, TextFile(name, text))


def _without(spans: Iterable[tuple[int, int]], holes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans, but for what lies in the holes."""
    left = []
    for start, end in spans:
        for first, last in holes:
            if start < last and first < end:
                if start < first:
                    left.append((start, first))
                start = max(start, last)
        if start < end:
            left.append((start, end))
    return left


def _by_the_look(file: TextFile, number: int, line: str) -> list[tuple[int, int]]:
    """Where secrets may stand in a line of a file that is no YAML: after a secret key, in its line or below it."""
    spans = []
    for match in _KEY_ANYWHERE.finditer(line):
        if SECRET_KEY.search(match["key"]) or URL_KEY.search(match["key"]):
            spans.append((match.end(), len(line)))
            break
    indent = len(line) - len(line.lstrip())
    for above in range(number - 1, max(0, number - 50), -1):
        _, text = file.line(above)
        if not text.strip():
            continue
        key = _KEY_IN_LINE.match(text)
        depth = len(text) - len(text.lstrip())
        is_item = line.lstrip().startswith("- ") and depth <= indent
        if key is not None and (depth < indent or is_item):
            if SECRET_KEY.search(key["key"]):
                spans.append((indent, len(line)))
            indent = depth
        if depth == 0 and key is not None:
            break
    return spans


def _masked(line: str, spans: Iterable[tuple[int, int]], start: int, end: int) -> Excerpt:
    """The line with a mask for each span, and where the underlined part is now."""
    text = ""
    done = 0
    new_start = new_end = None
    for first, last in [*_merged(spans, len(line)), (len(line), len(line))]:
        if new_start is None and start <= first:
            new_start = len(text) + max(0, start - done)
        if new_end is None and end <= first:
            new_end = len(text) + max(0, end - done)
        text += line[done:first]
        if first < last:
            if new_start is None and start < last:
                new_start = len(text)
            text += MASK
            if new_end is None and end <= last:
                new_end = len(text)
        done = last
    begin = len(text) if new_start is None else new_start
    finish = len(text) if new_end is None else new_end
    return Excerpt(text, begin, max(finish - begin, 1))


def _merged(spans: Iterable[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Spans within a line, in order, those that touch made one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted((max(0, first), min(last, length)) for first, last in spans):
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _credentials(url: str) -> list[tuple[int, int]]:
    """Where its user and password, and its query, stand."""
    return [match.span(match.lastgroup) for match in _CREDENTIALS.finditer(url) if match.lastgroup]
