"""Pure: how long what a Slack message is made of may be, by
https://docs.slack.dev/reference/block-kit/blocks and https://docs.slack.dev/reference/methods/chat.postMessage
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.plugin import Fault

MOST_TEXT = 40_000
_TEXT_OBJECT = 3000  # where no smaller bound holds
_TEXTS = {
    ("header", "text"): 150,
    ("section", "fields"): 2000,
    ("button", "text"): 75,
    ("image", "title"): 2000,
    ("image", "alt_text"): 2000,
    ("markdown", "text"): 12_000,
}
_LISTS = {("section", "fields"): 10, ("context", "elements"): 10, ("actions", "elements"): 25}
_TEXT_OBJECTS = (("section", "text"), ("section", "fields"), ("header", "text"), ("button", "text"))
_TEXT_TYPES = ("mrkdwn", "plain_text")  # https://docs.slack.dev/reference/block-kit/composition-objects/text-object
_MOST_BLOCKS = 50
_TORN = re.compile(r"(&[a-z]{0,4}|<[^<>]*)$")  # half an entity, half a link

Place = tuple[str | int, ...]


def cut(text: str, limit: int) -> str:
    """A text no longer than Slack takes; an entity or a link is dropped rather than torn."""
    return text if len(text) <= limit else _TORN.sub("", text[: limit - 1]) + "…"


def cut_blocks(part: Any, owner: tuple[str, str] = ("", "")) -> Any:
    """Blocks with each of their texts cut."""
    if isinstance(part, list):
        return [cut_blocks(item, owner) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        key: cut(value, limit)
        if isinstance(value, str) and (limit := _limit(part, key, owner)) is not None
        else cut_blocks(value, (str(part.get("type")), str(key)))
        for key, value in part.items()
    }


def faults(blocks: Any, *, is_cut: bool) -> Iterator[Fault]:
    """What Slack would refuse in blocks, as far as they are constants."""
    if not isinstance(blocks, list):
        return
    if len(blocks) > _MOST_BLOCKS:
        yield Fault(("blocks",), f"there are {len(blocks)} blocks, and a message has {_MOST_BLOCKS} at most")
    for i, block in enumerate(blocks):
        at: Place = ("blocks", i)
        is_mapping = isinstance(block, dict)
        if (is_mapping and "type" not in block) or isinstance(block, (str, int, float, list, type(None))):
            yield Fault(at, "is no block: a mapping with a type", "https://docs.slack.dev/reference/block-kit/blocks")
        elif is_mapping:
            if block["type"] in ("section", "header") and isinstance(block.get("text"), str):
                yield Fault((*at, "text"), "is no text object", "write {type: plain_text, text: ...}")
            if block["type"] == "section" and not block.get("text") and not block.get("fields"):
                yield Fault(at, "a section needs text or fields")
            yield from _faults(block, at, ("", ""), is_cut)


def _faults(part: Any, at: Place, owner: tuple[str, str], is_cut: bool) -> Iterator[Fault]:
    if isinstance(part, list):
        most = _LISTS.get(owner)
        if most is not None and len(part) > most:
            yield Fault(at, f"there are {len(part)}, and {most} at most are taken here")
        for i, item in enumerate(part):
            yield from _faults(item, (*at, i), owner, is_cut)
    elif isinstance(part, dict):
        if owner in _TEXT_OBJECTS and isinstance(kind := part.get("type"), str) and kind not in _TEXT_TYPES:
            yield Fault((*at, "type"), f"is no type of text: {' or '.join(_TEXT_TYPES)}")
        if owner == ("header", "text") and part.get("type") == "mrkdwn":
            yield Fault((*at, "type"), "the text of a header is plain_text")
        for key, value in part.items():
            limit = _limit(part, key, owner)
            if limit is None or not isinstance(value, str):
                yield from _faults(value, (*at, key), (str(part.get("type")), str(key)), is_cut)
            elif not value:
                yield Fault((*at, key), "is empty, which Slack refuses")
            elif len(value) > limit and not is_cut:
                yield too_long((*at, key), len(value), limit)


def too_long(at: Place, length: int, limit: int) -> Fault:
    """A text that Slack refuses for its length."""
    return Fault(at, f"has {length} characters, and Slack takes {limit} here", "shorten it, or say cut: true")


def _limit(part: dict[Any, Any], key: Any, owner: tuple[str, str]) -> int | None:
    """How long the text under a key may be; None where it is no text that people read."""
    kind = str(part.get("type"))
    if kind in ("mrkdwn", "plain_text"):
        return _TEXTS.get(owner, _TEXT_OBJECT) if key == "text" else None
    return _TEXTS.get((kind, str(key)))
