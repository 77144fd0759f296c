"""gateway schema: JSON Schema of gateway.yaml, for editors."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.main import app, options
from gateway.cli.output import print_json


@app.command()
def schema(
    included: Annotated[bool, typer.Option("--included", help="Of a file that `include` names, instead.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The same as a page for people.")] = False,
) -> None:
    """Print the JSON Schema of gateway.yaml, the plugins of this config included."""
    from gateway.config.plugins import find_actions
    from gateway.config.schema.json_schema import json_schema
    from gateway.config.schema.markdown import reference
    from gateway.config.yaml.document import Source
    from gateway.stripe.event_types import types_in_order

    folders = []
    if options.config.exists():
        folders = Source(options.config, {}, partial=True).plugin_folders()
    schema_json = json_schema(find_actions(folders)[0], types_in_order(), is_included=included)
    if markdown:
        print(reference(schema_json), end="")
    else:
        print_json(schema_json)
