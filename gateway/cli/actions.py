"""gateway actions: the action plugins found, with their options."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.app import app, fail, options, print_json, print_table


@app.command()
def actions(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the actions that routes can use, with their options."""
    from gateway.registry import find_actions
    from gateway.settings.source import Source

    folders = []
    if options.config.exists():
        source = Source(options.config, {}, lenient=True)
        listed = source.value.get("plugins")
        folders = [source.folder / name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    found, complaints = find_actions(folders)
    described: list[dict[str, Any]] = [
        {
            "name": name,
            "summary": (type(action).__doc__ or "").strip().partition("\n")[0],
            "options": {
                field.alias or key: {"required": field.is_required(), "description": field.description}
                for key, field in action.Settings.model_fields.items()
            },
        }
        for name, action in sorted(found.items())
    ]
    if as_json:
        print_json(described)
    else:
        rows: list[list[object]] = []
        for one in described:
            rows.append([one["name"], "", one["summary"]])
            for key, option in one["options"].items():
                rows.append(["", key + (" (needed)" if option["required"] else ""), option["description"]])
        print_table(["action", "option", ""], rows)
    if complaints:
        raise fail("\n".join(f"{file or 'entry point'}: {text}" for file, text in complaints))
