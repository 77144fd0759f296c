"""Pure: fields of events that nobody is shown, by their paths.

A path is that of a field in the event as Stripe sends it: names with dots between. `*` stands for any one name or
item of a list, `**` for any number of them; lists are passed through, so that an item's field needs no `*`. What a path
leads to is hidden whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gateway.core.envelope import parse_json
from gateway.core.errors import EnvelopeError
from gateway.core.fetch_answer import read_answer
from gateway.core.masking import Masker
from gateway.core.model import Event

REDACTED = "[redacted]"
_PATH = re.compile(r"(?:[A-Za-z0-9_\-]+|\*\*?)(?:\.(?:[A-Za-z0-9_\-]+|\*\*?))*")
EXPECTED = "expected a path in the event, such as data.object.customer_details or data.object.**.email"

RedactedPath = tuple[str, ...]


def parse_path(text: str) -> RedactedPath:
    """The parts of a path. Raises ValueError."""
    parts = tuple(text.split("."))
    if not _PATH.fullmatch(text) or parts[0] not in ("data", "**", "changes", "related_object"):
        raise ValueError(EXPECTED)
    if parts[-1] == "**":
        raise ValueError("expected a name or * after **, because ** alone would hide every field one by one")
    return parts


def redacted(value: Any, paths: Sequence[RedactedPath]) -> Any:
    """A copy of an event's JSON in which what the paths lead to is hidden."""
    if any(not path for path in paths):
        return REDACTED if value is not None else None
    if isinstance(value, Mapping):
        return {key: redacted(item, paths_below(paths, str(key))) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item, [*paths, *paths_below(paths, None)]) for item in value]
    return value


def paths_below(paths: Sequence[RedactedPath], name: str | None) -> list[RedactedPath]:
    """What is left of the paths under a name, or under an item of a list."""
    left: list[RedactedPath] = []
    for path in paths:
        if path[0] == "**":
            left.append(path)
            left += paths_below([path[1:]], name)
        elif path[0] == "*" or path[0] == name:
            left.append(path[1:])
    return left


def hidden_texts(value: Any, paths: Sequence[RedactedPath]) -> set[str]:
    """The texts and numbers that the paths lead to, so that they are found wherever a template has put them."""
    if any(not path for path in paths):
        return set(_texts(value))
    if isinstance(value, Mapping):
        return {text for key, item in value.items() for text in hidden_texts(item, paths_below(paths, str(key)))}
    if isinstance(value, list):
        return {text for item in value for text in hidden_texts(item, [*paths, *paths_below(paths, None)])}
    return set()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield str(value)


def hidden_in(
    events: Iterable[Event],
    paths_by_account: Mapping[str, Sequence[RedactedPath]],
    fetched: Mapping[str, Any] | None = None,
) -> Masker:
    """Hides in other texts what each event's account redacts in it; where it is no JSON, nothing tells what that is."""
    texts: set[str] = set()
    for event in events:
        paths = paths_by_account.get(event.account, ())
        try:
            texts |= hidden_texts(parse_json(event.body), paths) if paths else set()
        except EnvelopeError:
            continue
        if fetched is not None:
            answer = read_answer(fetched)
            texts |= hidden_texts({"data": {"object": answer.object}}, paths) | hidden_texts(answer.event or {}, paths)
    return Masker(texts, REDACTED)
