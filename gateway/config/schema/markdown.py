"""The reference of gateway.yaml in Markdown: every key, made from the editor's schema, so that both say the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.config.schema.json_values import value_text
from gateway.config.yaml.writing import as_yaml

Schema = Mapping[str, Any]

_HEAD = "| key | type | default | example | |\n|---|---|---|---|---|"


def reference(schema: Schema) -> str:
    """All sections, each with its place, what it is for, and its keys."""
    top = schema["properties"]
    single = {name: part for name, part in top.items() if not _is_section(part) and not _members(part)}
    route = top["routes"]["additionalProperties"]
    parts = [
        *_section(
            "Top level", "The keys that are neither sections nor names of your own.", {**schema, "properties": single}
        ),
        *(line for name, part in top.items() if _is_section(part) for line in _section(f"`{name}`", None, part, name)),
        *_section("`accounts`", top["accounts"]["description"], _members(top["accounts"]), "accounts.NAME"),
        *_connections(top["connections"], schema["definitions"]),
        *_section("`routes`", top["routes"]["description"], route, "routes.NAME"),
        *_section(
            "A route's `actions`",
            route["properties"]["actions"]["description"],
            _members(route["properties"]["actions"]),
            "routes.NAME.actions.NAME",
        ),
    ]
    for name, part in schema["definitions"].items():
        if name.startswith("with_"):
            uses = name.removeprefix("with_")
            parts += _section(f"`with` of {uses}", _summary(route, uses), part, "with")
    return "\n".join(parts).rstrip() + "\n"


def _connections(part: Schema, definitions: Mapping[str, Schema]) -> Iterator[str]:
    kinds = part["additionalProperties"]["properties"]["type"]
    yield from ("## `connections`", "", part["description"], "")
    yield "| `type` | |\n|---|---|"
    for kind, about in zip(kinds["enum"], kinds["enumDescriptions"], strict=True):
        yield f"| [`{kind}`](#connections-of-type-{kind}) | {about} |"
    yield ""
    for kind in kinds["enum"]:
        yield from _section(
            f"Connections of type `{kind}`", None, definitions[f"connection_{kind}"], "connections.NAME"
        )


def _summary(route: Schema, uses: str) -> str:
    known = _members(route["properties"]["actions"])["properties"]["uses"]
    text: str = known["enumDescriptions"][known["enum"].index(uses)]
    return text


def _section(title: str, about: str | None, part: Schema, place: str = "") -> Iterator[str]:
    """A heading and the table of its keys; what lies deeper follows in the same table by its path."""
    yield from (f"## {title}", "", about or part["description"], "")
    if place:
        yield from (f"At `{place}`:", "")
    yield _HEAD
    for path, is_needed, row in _rows(part, ""):
        default = f"`{value_text(row['default'])}`" if "default" in row else "needed" if is_needed else "—"
        cells = [f"`{path}`", row.get("title", "anything"), default, _example(row), _plain(row.get("description", ""))]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _rows(part: Schema, above: str) -> Iterator[tuple[str, bool, Schema]]:
    needed = part.get("required", ())
    for name, inner in part.get("properties", {}).items():
        if inner:
            yield above + name, name in needed, inner
        if "object" in _types(inner) and set(inner.get("properties", ())) - {"template"}:
            yield from _rows(inner, f"{above}{name}.")
        items = inner.get("items") if isinstance(inner, dict) else None
        if isinstance(items, dict) and items.get("properties"):
            yield from _rows(items, f"{above}{name}[].")


def _members(part: Schema) -> Schema:
    """What the members of a mapping of named things are; empty where it is none."""
    inner = part.get("additionalProperties")
    return inner if isinstance(inner, dict) and "properties" in inner else {}


def _is_section(part: Schema) -> bool:
    return bool(part.get("properties"))


def _types(part: Schema) -> list[str]:
    kind = part.get("type", [])
    return kind if isinstance(kind, list) else [kind]


def _plain(text: str) -> str:
    return text.replace("*", "\\*").replace("<", "&lt;")


def _example(part: Schema) -> str:
    """How a value may look, on one line; empty where nothing is known."""
    value = _sample(part)
    if value is None:
        return ""
    return f"`{as_yaml(value, width=10_000, one_line=True).strip().removesuffix('...').strip()}`"


def _sample(part: Schema) -> Any:
    if part.get("examples"):
        return part["examples"][0]
    inner = {
        name: sample
        for name, inner_part in part.get("properties", {}).items()
        if (sample := _sample(inner_part)) is not None
    }
    if inner:
        return inner
    default = part.get("default")
    return int(default) if isinstance(default, float) and default.is_integer() else default
