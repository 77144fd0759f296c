"""gateway reload: the running gateway reads its configuration anew."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.main import app, environment, options
from gateway.cli.output import clean, print_json


def control_socket() -> Path:
    """Where the gateway of this configuration listens. Raises ConfigError where the file cannot be read at all."""
    from gateway.cli.dev.environment import CONTROL_SOCKET
    from gateway.config.partial import load_control_socket

    if options.dev:
        return options.config.resolve().parent / CONTROL_SOCKET
    return load_control_socket(options.config, environment())


def print_refusal(answer: dict[str, Any]) -> None:
    """Every problem, and that nothing has changed."""
    print(clean(answer["report"]), file=sys.stderr)
    print(f"\nThe gateway runs on with what it has ({answer['was']}).", file=sys.stderr)


def print_changes(answer: dict[str, Any]) -> None:
    """What changes, what needs a restart, which deliveries lose their action."""
    signs = {"added": "+", "removed": "-", "changed": "~"}
    for change in answer["changes"]:
        print(clean(f"  {signs[change['what']]} {change['text']}"))
    for orphan in answer["orphans"]:
        print(clean(f"  ! {orphan['text']}: dead letters after 10 minutes, unless it comes back"))
    pending = [name for name in answer["needs_restart"] if name not in {change["name"] for change in answer["changes"]}]
    if pending:
        print(clean(f"  still to be taken by a restart: {', '.join(pending)}"))


@app.command()
def reload(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Make the running gateway read its configuration anew. A config that does not load changes nothing: exit 1."""
    from gateway.app.control_socket import ask

    answer = ask(control_socket(), "reload")
    if as_json:
        print_json(answer)
    elif answer["outcome"] == "refused":
        print_refusal(answer)
    else:
        was = f" (was {answer['was']})" if answer["version"] != answer["was"] else ""
        print(f"{answer['outcome']}: {answer['version']}{was}")
        print_changes(answer)
    if answer["outcome"] == "refused":
        raise typer.Exit(1)
