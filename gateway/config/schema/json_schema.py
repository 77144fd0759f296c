"""JSON Schema of gateway.yaml, for editors: each connection by its type, each `with` by its `uses`.

Draft 7, which every version of yaml-language-server knows, with the words that it knows besides: `errorMessage`,
`markdownDescription`, `enumDescriptions`, `defaultSnippets`. `title` says what a value is, as ops write it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from gateway.config.action_fields import fields_of
from gateway.config.schema.connections import connection_types
from gateway.config.schema.json_values import Values, or_text, variables, with_templates
from gateway.config.schema.model import GatewaySettings
from gateway.config.yaml.document import INCLUDABLE
from gateway.plugin import Action, ConnectionSettings

Schema = dict[str, Any]


def json_schema(actions: Mapping[str, Action[Any]], event_types: Sequence[str], *, is_included: bool = False) -> Schema:
    """The whole schema; `is_included`: of a file that `include` names."""
    kinds = connection_types(actions)
    whole = {"title": "gateway.yaml", **model_schema(GatewaySettings, variables())}
    properties = whole["properties"]
    route = properties["routes"]["additionalProperties"]
    route["properties"]["events"]["items"] |= {
        "title": "type of event",
        "description": "A type that Stripe has, one of the gateway's own (gateway.delivery.dead), or a glob: * stands "
        "for any characters.",
        "defaultSnippets": [{"label": name, "body": name} for name in event_types],  # an enum would fill the hover
    }
    properties["connections"]["additionalProperties"] = _connection(kinds)
    action = route["properties"]["actions"]["additionalProperties"]
    action["properties"]["uses"] |= _one_of({name: summary(type(actions[name])) for name in sorted(actions)})
    for key in action["properties"]["retry"]["properties"].values():  # what is left out comes from defaults.retry
        key.pop("default", None)
        key.pop("markdownDescription", None)
    action["allOf"] = [_by("uses", name, {"properties": {"with": _ref("with", name)}}) for name in sorted(actions)]
    definitions: Schema = {f"connection_{kind}": _without_type(kinds[kind]) for kind in sorted(kinds)}
    for name in sorted(actions):
        definitions[f"with_{name}"] = with_schema(actions[name])
        if "required" in definitions[f"with_{name}"]:
            action["allOf"][sorted(actions).index(name)]["then"]["required"] = ["with"]
    if is_included:
        whole["properties"] = {name: properties[name] for name in INCLUDABLE}
        whole["description"] = "A file that gateway.yaml includes."
        del whole["required"]
    return {"$schema": "http://json-schema.org/draft-07/schema#", **whole, "definitions": definitions}


def with_schema(action: Action[Any]) -> Schema:
    """An action's `with`, where a template may stand for each value."""
    fields = fields_of(action.Settings)
    plain = {name for name, field in fields.items() if field.connection is not None or field.constant is not None}
    files = {name for name, field in fields.items() if field.text is not None and not field.text.keeps_lone}
    return model_schema(action.Settings, with_templates(), plain=plain, files=files)


def model_schema(
    model: type[BaseModel], values: Values, *, plain: set[str] | frozenset[str] = frozenset(),
    files: set[str] | frozenset[str] = frozenset(),
) -> Schema:  # fmt: skip
    """A model's schema without references. `plain`: fields that hold no template; `files`: those that may name one."""
    raw = model.model_json_schema(by_alias=True, schema_generator=_Generator, ref_template="{model}")
    inlined = _inlined(raw, raw.get("$defs", {}), ())
    schema = variables().of(inlined)
    for name, part in inlined.get("properties", {}).items():
        if name not in plain:
            schema["properties"][name] = values.or_file(part) if name in files else values.of(part)
    return schema


def summary(documented: type[Any]) -> str:
    """The first line of a class's docstring."""
    return (documented.__doc__ or "").strip().partition("\n")[0]


class _Generator(GenerateJsonSchema):
    """Without the titles that pydantic makes of names, and with defaults as they are written in YAML."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, SecretStr):  # a default stands in the code: it is no secret
            return dft.get_secret_value()
        return super().encode_default(dft)

    def generate(self, schema: CoreSchema, mode: Any = "validation") -> Schema:
        generated = super().generate(schema, mode)
        for model in (generated, *generated.get("$defs", {}).values()):
            model.pop("title", None)
        return generated


def _inlined(part: Any, definitions: Mapping[str, Any], trail: tuple[str, ...]) -> Any:
    """The same with each reference replaced by what it means: editors then tell in place what is wrong. A model that
    holds itself is followed once.
    """
    if isinstance(part, list):
        return [_inlined(inner, definitions, trail) for inner in part]
    if not isinstance(part, dict):
        return part
    name = part.get("$ref")
    if isinstance(name, str):
        meant = {} if name in trail else _inlined(definitions[name], definitions, (*trail, name))
        return {**meant, **{key: _inlined(inner, definitions, trail) for key, inner in part.items() if key != "$ref"}}
    return {key: _inlined(inner, definitions, trail) for key, inner in part.items() if key != "$defs"}


def _connection(kinds: Mapping[str, type[ConnectionSettings]]) -> Schema:
    described = _one_of({kind: summary(kinds[kind]) for kind in sorted(kinds)})
    return {
        "type": "object",
        "description": "A named outside system: address, credentials, limits.",
        "required": ["type"],
        "title": "mapping",
        "properties": {
            "type": {
                "type": "string",
                "title": "name of a type",
                "description": "What kind of system it is.",
                **described,
            }
        },
        "allOf": [_by("type", kind, _ref("connection", kind)) for kind in sorted(kinds)],
    }


def _without_type(kind: type[ConnectionSettings]) -> Schema:
    schema = model_schema(kind, variables())
    schema["properties"]["type"] = {}  # told outside
    schema["required"] = [name for name in schema["required"] if name != "type"]
    return schema


def _one_of(summaries: Mapping[str, str]) -> Schema:
    return {
        "enum": list(summaries),
        "enumDescriptions": list(summaries.values()),
        "errorMessage": f"expected {or_text(list(summaries))}",
    }


def _by(key: str, value: str, then: Schema) -> Schema:
    return {"if": {"required": [key], "properties": {key: {"const": value}}}, "then": then}


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/definitions/{kind}_{name}"}
