"""What an editor should take for a value of gateway.yaml: its kind, a ${VARIABLE} or a template in its place, and what
to say where it is neither.

A variable or a template is text in the editor's eyes, whatever it becomes. One schema with several types, rather than
`anyOf`, so that editors say what was expected instead of listing alternatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.plugin.types import NAME_PATTERN, duration_text, size_text

Schema = dict[str, Any]

_VARIABLE = r"\$\{"
_TEMPLATE = r"\{\{|\{%|\$\{"
_ABOUT = ("description", "default", "examples", "title")
_A = frozenset(("duration", "size", "rate", "URL", "name", "number", "mapping", "list", "path"))
_WITH_EXAMPLE = frozenset(("duration", "size", "rate", "URL", "host:port"))
_AN = frozenset(("integer", "expression"))
_KINDS = {"string": "text", "integer": "integer", "number": "number", "object": "mapping"}


@dataclass(frozen=True, slots=True)
class Values:
    """Turns pydantic's schemas into such as editors need."""

    stand_in: str  # a pattern of what may stand in a value's place
    are_templates: bool  # a template stands for lists and mappings too, and numbers are taken as text

    def of(self, part: Schema) -> Schema:
        """The schema for an editor."""
        nullable = any(kind.get("type") == "null" for kind in _kinds(part))
        kinds = [kind for kind in _kinds(part) if kind.get("type") != "null"]
        inner = kinds[0] if len(kinds) == 1 else {}
        about = {key: source[key] for source in (inner, part) for key in _ABOUT if key in source}
        words = about.get("title") or _words(kinds)
        if words is not None:
            about["title"] = words
        schema = self._merged(kinds, _expected(about))
        if nullable and "type" in schema:
            schema["type"] = [*_list(schema["type"]), "null"]
        elif nullable and "anyOf" in schema:
            schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
        return _described(about) | schema

    def or_file(self, part: Schema) -> Schema:
        """The same, where `{template: file}` is taken in place of text."""
        schema = self.of(part)
        if not any(kind.get("type") == "string" for kind in _kinds(part)):
            return schema
        about = "A file with the template, below gateway.yaml's folder."
        template = {"type": "string", "title": "path", "description": about}
        file: Schema = {"properties": {"template": template}, "required": ["template"], "additionalProperties": False}
        schema["type"] = [*_list(schema["type"]), "object"]
        schema.pop("errorMessage", None)  # the editor's own names the wrong key
        schema["title"] += " or {template: file}"
        return schema | file

    # -- one kind ---------------------------------------------------------------------------------------------

    def _merged(self, kinds: list[Schema], message: str) -> Schema:
        """One schema for all kinds of value that are taken."""
        values = [value for kind in kinds for value in _fixed(kind)]
        if values:
            if any(kind.get("type") == "boolean" for kind in kinds):
                values = [True, False, *values]
            alternatives: list[Schema] = [{"enum": values}, {"type": "string", "pattern": self.stand_in}]
            return {"anyOf": [{**alternative, "errorMessage": message} for alternative in alternatives]}
        schema: Schema = {}
        types: list[str] = []
        for kind in kinds:
            if "type" not in kind:
                return {}  # anything
            types.append(kind["type"])
            schema |= self._kind(kind)
        is_free = any(kind["type"] == "string" and "pattern" not in kind for kind in kinds)
        is_scalar = not {"array", "object"}.intersection(types)
        if is_free:
            types += ["number"] if self.are_templates else []
        elif is_scalar or self.are_templates:
            own = schema.get("pattern")
            schema["pattern"] = f"{own}|{self.stand_in}" if own else self.stand_in
            types.append("string")
        types = list(dict.fromkeys(types))
        if is_scalar:
            schema["errorMessage"] = message
        return {"type": types[0] if len(types) == 1 else types, **schema}

    def _kind(self, kind: Schema) -> Schema:
        schema = {key: value for key, value in kind.items() if key not in (*_ABOUT, "type", "format", "writeOnly")}
        if "items" in schema:
            schema["items"] = self.of(schema["items"])
        if "properties" in schema:
            schema["properties"] = {name: self.of(value) for name, value in schema["properties"].items()}
        named = schema.pop("patternProperties", None)
        if named:
            ((pattern, value),) = named.items()
            schema["additionalProperties"] = value
            schema["propertyNames"] = {"pattern": pattern}
        if schema.get("propertyNames", {}).get("pattern") == NAME_PATTERN:
            schema["propertyNames"]["errorMessage"] = "expected a name: letters, digits, _ . - only, a letter first"
        if isinstance(schema.get("additionalProperties"), dict):
            schema["additionalProperties"] = self.of(schema["additionalProperties"])
        return schema


def variables() -> Values:
    """For values in whose place a ${VARIABLE} may stand."""
    return Values(_VARIABLE, False)


def with_templates() -> Values:
    """For an action's `with`, where a template may stand too."""
    return Values(_TEMPLATE, True)


def _kinds(part: Schema) -> list[Schema]:
    """The alternatives of a schema, flat."""
    several = part.get("anyOf") or part.get("oneOf")
    if several:
        return [kind for alternative in several for kind in _kinds(alternative)]
    return [part]


def _fixed(kind: Schema) -> list[Any]:
    return list(kind["enum"]) if "enum" in kind else [kind["const"]] if "const" in kind else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _words(kinds: list[Schema]) -> str | None:
    """What a value is, in a few words; None: anything."""
    words: list[str] = []
    for kind in kinds:
        fixed = _fixed(kind)
        if fixed:
            words += [value_text(value) for value in fixed]
        elif "title" in kind:
            words.append(kind["title"])
        elif kind.get("format") == "password":
            words.append("secret text")
        elif kind.get("type") == "array":
            words.append(f"list of {_words(_kinds(kind.get('items', {}))) or 'values'}")
        elif kind.get("type") == "boolean":
            words += ["true", "false"]
        elif kind.get("type") in ("integer", "number"):
            low, high = kind.get("minimum"), kind.get("maximum")
            bounds = f" from {low:g} to {high:g}" if low is not None and high is not None else ""
            words.append(_KINDS[kind["type"]] + bounds)
        elif kind.get("type") in _KINDS:
            words.append(_KINDS[kind["type"]])
        else:
            return None
    return or_text(list(dict.fromkeys(words)))


def or_text(words: list[str]) -> str:
    """`a, b or c`."""
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else "".join(words)


def _expected(about: Schema) -> str:
    words, examples = about.get("title", ""), about.get("examples", [])
    first = words.partition(" ")[0]
    such = f", such as {examples[0]}" if first in _WITH_EXAMPLE and examples else ""
    return f"expected {'an ' if first in _AN else 'a ' if first in _A else ''}{words}{such}"


def _described(about: Schema) -> Schema:
    """Description and default, as hover shows them."""
    default = about.pop("default", None)
    if default is None or default in ([], {}):
        return about
    if about.get("title") == "duration":
        default = duration_text(default)
    elif about.get("title") == "size":
        default = size_text(default)
    if default == "":
        return about
    shown = value_text(default)
    text = about.get("description", "")
    return {**about, "default": default, "markdownDescription": f"{text}\n\nDefault: `{shown}`".strip()}


def value_text(value: Any) -> str:
    """A plain value as YAML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
