"""gateway check: every error in the config; nothing is contacted."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from gateway.cli.app import app, clean, load_config, options, print_json


def _row(problem: Any) -> dict[str, Any]:
    where = problem.where
    return {
        "severity": problem.severity,
        "file": where.file,
        "line": where.line,
        "column": where.column,
        "path": where.path,
        "message": problem.message,
        "hint": problem.hint,
    }


@app.command()
def check(as_json: Annotated[bool, typer.Option("--json", help="A JSON array of problems.")] = False) -> None:
    """Say everything that is wrong with the config. Contacts nothing."""
    from gateway.settings.problems import ConfigError

    try:
        config = load_config()
    except ConfigError as error:
        if as_json:
            print_json([_row(problem) for problem in error.problems])
        else:
            print(clean(error), file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        print_json([_row(problem) for problem in config.warnings])
        return
    for warning in config.warnings:
        print(f"warning: {clean(warning)}", file=sys.stderr)
    count = sum(len(route.actions) for route in config.routes)
    print(f"{options.config}: good ({len(config.routes)} routes, {count} actions, {len(config.accounts)} accounts)")
