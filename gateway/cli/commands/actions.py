"""gateway actions: the action plugins found, with their options."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gateway.cli.main import app, options
from gateway.cli.output import fail, print_json, print_table

_WORDS = {str: "text", int: "integer", float: "number", bool: "boolean", dict: "mapping", list: "list", Any: "any"}


def type_words(annotation: Any) -> str:
    """What an option takes, in the words of YAML."""
    from pydantic import BaseModel

    from gateway.plugin import Deferred

    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_words(inside[0])
    if origin is typing.Literal:
        return " | ".join(str(value) for value in inside)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(
            dict.fromkeys(type_words(annotation) for annotation in inside if annotation is not type(None))
        )
    if isinstance(origin, type) and issubclass(origin, Deferred):
        return type_words(inside[0])
    if origin is list and inside:
        return f"list of {type_words(inside[0])}"
    bare = origin or annotation
    if isinstance(bare, type) and issubclass(bare, (BaseModel, Mapping)):
        return "mapping"
    return _WORDS.get(bare, "any")


@app.command()
def actions(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the actions that routes can use, with their options."""
    from gateway.config.plugins import find_actions, missing_packages
    from gateway.config.yaml.document import Source

    folders = []
    if options.config.exists():
        folders = Source(options.config, {}, partial=True).plugin_folders()
    actions, complaints = find_actions(folders)
    described: list[dict[str, Any]] = [
        {
            "name": name,
            "summary": (type(action).__doc__ or "").strip().partition("\n")[0],
            "missing": missing_packages(action),
            "options": {
                field.alias or key: {
                    "required": field.is_required(),
                    "type": type_words(field.annotation),
                    "description": field.description,
                }
                for key, field in action.Settings.model_fields.items()
            },
        }
        for name, action in sorted(actions.items())
    ]
    if as_json:
        print_json(described)
    else:
        rows: list[list[object]] = []
        for action in described:
            missing = "".join(f" (not installed: pip install '{what}')" for what in action["missing"].values())
            rows.append([action["name"], "", "", action["summary"] + missing])
            for key, option in action["options"].items():
                rows.append(
                    ["", key + (" (needed)" if option["required"] else ""), option["type"], option["description"]]
                )
        print_table(["action", "option", "type", ""], rows)
    if complaints:
        raise fail("\n".join(f"{complaint.file or 'entry point'}: {complaint.message}" for complaint in complaints))
