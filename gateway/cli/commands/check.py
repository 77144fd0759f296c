"""gateway check: every problem in the config; nothing is contacted."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gateway.cli.main import app, load_config, options
from gateway.cli.output import has_colours, print_json


@app.command()
def check(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array of problems.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
) -> None:
    """Say everything that is wrong with the config. Contacts nothing."""
    from gateway.config.diagnostics.problem import ConfigError
    from gateway.config.diagnostics.render import report, rows

    config = None
    try:
        config = load_config(checks_fields=True)
        problems = config.warnings
    except ConfigError as error:
        problems = error.problems
    if as_json:
        print_json(rows(problems))
    elif problems:
        print(report(problems, str(options.config), colours=has_colours(sys.stderr)), file=sys.stderr)
    if config is None or (strict and problems):
        raise typer.Exit(1)
    if not as_json:
        count = sum(len(route.actions) for route in config.routes)
        print(f"{options.config}: good ({len(config.routes)} routes, {count} actions, {len(config.accounts)} accounts)")
