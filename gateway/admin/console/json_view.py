"""JSON that folds without a script: objects and lists as `<details>`, every text escaped and made visible."""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup

from gateway.admin.console.escaping import pretty, visible

OPEN_DEPTH = 3  # event, data, object: what is deeper is folded at first
MOST_NODES = 4000  # beyond, one flat text is quicker to read and to send
SHOWN_TEXT = 2000  # of one string


def folded(value: Any) -> Markup:
    """A document, its outer levels unfolded; as one text where it is no object, or has too many fields."""
    if not isinstance(value, (dict, list)) or _nodes(value, MOST_NODES) <= 0:
        return pretty(value)
    return Markup('<div class="json folds" dir="ltr">{}</div>').format(_node(value, Markup(""), 0, ""))


def _nodes(value: Any, left: int) -> int:
    """How many of `left` fields are left after those of a value."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        left = _nodes(item, left - 1)
        if left <= 0:
            return 0
    return left


def _node(value: Any, key: Markup, depth: int, comma: str) -> Markup:
    if not isinstance(value, (dict, list)) or not value:
        return Markup("<div>{}{}{}</div>").format(key, _scalar(value), comma)
    begin, end = ("{", "}") if isinstance(value, dict) else ("[", "]")
    pairs = list(value.items()) if isinstance(value, dict) else [(None, item) for item in value]
    lines = [
        _node(item, _key(name), depth + 1, "," if number < len(pairs) else "")
        for number, (name, item) in enumerate(pairs, 1)
    ]
    count = f"{len(pairs)} {'field' if isinstance(value, dict) else 'item'}{'' if len(pairs) == 1 else 's'}"
    return Markup(
        '<details{}><summary>{}{} <small>{}</small></summary><div class="fields">{}</div><div>{}{}</div></details>'
    ).format(Markup(" open") if depth < OPEN_DEPTH else "", key, begin, count, Markup("").join(lines), end, comma)


def _key(name: str | None) -> Markup:
    if name is None:
        return Markup("")
    return Markup('<span class="j-key">{}</span>: ').format(visible(json.dumps(name, ensure_ascii=False)))


def _scalar(value: Any) -> Markup:
    text = json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > SHOWN_TEXT:
        text = f"{text[:SHOWN_TEXT]}… Cut here: the whole is {len(text):,} characters."
    kind = "string" if isinstance(value, str) else "number" if type(value) in (int, float) else "word"
    return Markup('<span class="j-{}">{}</span>').format(kind, visible(text))
