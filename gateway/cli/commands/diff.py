"""gateway diff: what a reload would change."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.commands.reload import control_socket, print_changes, print_refusal
from gateway.cli.main import app, options
from gateway.cli.output import print_json


@app.command()
def diff(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 where something would change.")] = False,
) -> None:
    """Say what a reload of the running gateway would change. Changes nothing.

    With --config another file than the gateway's own: what that file would change in its place.
    """
    from gateway.app.control_socket import ask

    answer = ask(control_socket(), f"diff {options.config.absolute()}")
    if as_json:
        print_json(answer)
    elif answer["outcome"] == "refused":
        print_refusal(answer)
    elif answer["outcome"] == "unchanged":
        print(f"nothing would change: {answer['version']} is in force")
        print_changes(answer)
    else:
        print(f"{answer['was']} -> {answer['version']}")
        print_changes(answer)
    if answer["outcome"] == "refused" or (exit_code and answer["outcome"] != "unchanged"):
        raise typer.Exit(1)
