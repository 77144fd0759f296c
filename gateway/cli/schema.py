"""gateway schema: JSON Schema of gateway.yaml, for editors."""

from __future__ import annotations

from gateway.cli.app import app, options, print_json


@app.command()
def schema() -> None:
    """Print the JSON Schema of gateway.yaml, the plugins of this config included."""
    from gateway.registry import find_actions
    from gateway.settings.schema_json import json_schema
    from gateway.settings.source import Source

    folders = []
    if options.config.exists():
        source = Source(options.config, {}, lenient=True)
        listed = source.value.get("plugins")
        folders = [source.folder / name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    print_json(json_schema(find_actions(folders)[0]))
