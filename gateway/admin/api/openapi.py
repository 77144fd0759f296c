"""The OpenAPI 3.1 document of the admin API, made of the handlers' own types."""

from __future__ import annotations

import re
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from gateway import __version__
from gateway.admin.api.endpoints import ENDPOINTS, PREFIX, ApiEndpoint
from gateway.admin.api.schemas import Empty, Model, ProblemOut
from gateway.admin.auth import Role
from gateway.admin.problems import PROBLEM_TYPE

_REF = "#/components/schemas/{model}"
_ERRORS = {
    400: "The request could not be read.",
    401: "No token, or one that is nobody's.",
    403: "The token's role may not do this, or a form's CSRF token is wrong.",
    404: "There is no such thing.",
    405: "Another method is needed.",
    409: "It cannot be done in the state that it is in.",
    413: "The request is too large.",
    415: "Send JSON.",
    422: "The request asks for something that cannot be.",
    429: "Too many wrong tokens from this address; wait.",
    503: "The store does not answer.",
}


def document() -> dict[str, Any]:
    """The whole document."""
    models: list[Any] = [(ProblemOut, "serialization")]
    for endpoint in ENDPOINTS:
        _, body, answer = endpoint.types
        models.append((answer, "serialization"))
        if body is not Empty:
            models.append((body, "validation"))
    schemas, definitions = models_json_schema(models, ref_template=_REF, schema_generator=GenerateJsonSchema)
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(PREFIX + endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stripe fulfilment gateway: admin API",
            "version": __version__,
            "description": "What the console shows and does. Lists go on at `next`; errors are problem+json.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: ApiEndpoint, schemas: Any) -> dict[str, Any]:
    query, body, answer = endpoint.types
    needs = "an operator's token" if endpoint.role is Role.OPERATOR else "a viewer's token"
    operation: dict[str, Any] = {
        "operationId": endpoint.run.__name__,
        "summary": endpoint.summary,
        "description": f"Needs {needs}.",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in re.findall(r"\{(\w+)\}", endpoint.path)
        ]
        + _parameters(query),
        "responses": {
            "200": {
                "description": "Done.",
                "content": {"application/json": {"schema": schemas[(answer, "serialization")]}},
            }
        },
    }
    if body is not Empty:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[(body, "validation")]}},
        }
    for status, text in _ERRORS.items():
        operation["responses"][str(status)] = {
            "description": text,
            "content": {PROBLEM_TYPE: {"schema": {"$ref": _REF.format(model="ProblemOut")}}},
        }
    return operation


def _parameters(query: type[Model]) -> list[dict[str, Any]]:
    schema = query.model_json_schema(ref_template=_REF)
    inner = schema.get("$defs", {})
    parameters = []
    for name, value in schema.get("properties", {}).items():
        described = value.pop("description", None)
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "schema": _inlined(value, inner),
                **({"description": described} if described else {}),
                **({"style": "form", "explode": True} if value.get("type") == "array" else {}),
            }
        )
    return parameters


def _inlined(value: Any, definitions: dict[str, Any]) -> Any:
    """A parameter's schema without references."""
    if isinstance(value, dict):
        if "$ref" in value:
            return _inlined(definitions[value["$ref"].rpartition("/")[2]], definitions)
        return {key: _inlined(item, definitions) for key, item in value.items()}
    if isinstance(value, list):
        return [_inlined(item, definitions) for item in value]
    return value
