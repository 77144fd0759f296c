"""JSON Schema of gateway.yaml, for editors: each connection by its type, each `with` by its `uses`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from gateway.plugin import Action
from gateway.settings.load import connection_types
from gateway.settings.schema import GatewaySettings

_TEMPLATE = {"type": "string", "pattern": r"\{\{|\{%|\$\{"}


def json_schema(actions: Mapping[str, Action[Any]]) -> dict[str, Any]:
    """The whole schema, draft 2020-12."""
    schema = GatewaySettings.model_json_schema(by_alias=True, schema_generator=GenerateJsonSchema)
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    kinds = connection_types(actions)
    for kind, connection in kinds.items():
        definitions[f"connection_{kind}"] = _part(connection.model_json_schema(by_alias=True), definitions)
    schema["properties"]["connections"]["additionalProperties"] = {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": sorted(kinds)}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": kind}}},
                "then": {"$ref": f"#/$defs/connection_{kind}"},
            }
            for kind in sorted(kinds)
        ],
    }
    action = definitions["ActionSettings"]
    action["properties"]["uses"]["enum"] = sorted(actions)
    action["allOf"] = []
    for name in sorted(actions):
        definitions[f"with_{name}"] = _part(
            _templated(actions[name].Settings.model_json_schema(by_alias=True)), definitions
        )
        action["allOf"].append(
            {
                "if": {"properties": {"uses": {"const": name}}},
                "then": {"properties": {"with": {"$ref": f"#/$defs/with_{name}"}}},
            }
        )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "gateway.yaml", **schema}


def _part(part: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A model's schema without its own definitions, which move to the common ones."""
    definitions.update(part.pop("$defs", {}))
    return part


def _templated(part: dict[str, Any]) -> dict[str, Any]:
    """The same, where every value may be a template instead; a text may be `{template: file}`."""
    for name, value in part.get("properties", {}).items():
        if name == "connection":
            continue
        described = {key: value.pop(key) for key in ("description", "title", "default") if key in value}
        file = {"type": "object", "required": ["template"], "properties": {"template": {"type": "string"}}}
        part["properties"][name] = {**described, "anyOf": [value, _TEMPLATE, file]}
    return part
