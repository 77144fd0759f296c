"""gateway check: every problem in the config; nothing is contacted."""

from __future__ import annotations

import atexit
import gc
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.main import app, load_config, options
from gateway.cli.output import fail, has_colours, print_json

if TYPE_CHECKING:
    from gateway.config.diagnostics.problem import Problem
    from gateway.config.load import Config

_VERSION = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(\.[a-z_]+)?")


@app.command()
def check(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array of problems.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
    api_version: Annotated[
        str | None,
        typer.Option(
            help="Instead: what would mean something else if Stripe's events were of this version, and its mend."
        ),
    ] = None,
) -> None:
    """Say everything that is wrong with the config. Contacts nothing."""
    gc.disable()  # the program ends when it has spoken: to look for garbage on the way takes a quarter of its time
    atexit.register(gc.freeze)  # nor when it ends
    config, problems = _loaded()
    if api_version is not None:
        problems = _changed(problems, api_version)
    _print(problems, as_json)
    if (config is None and api_version is None) or (problems and (strict or api_version is not None)):
        raise typer.Exit(1)
    if as_json:
        return
    if config is None or api_version is not None:  # a config that only Stripe's objects speak against
        print(f"{options.config}: nothing means anything else in Stripe's API {api_version}")
        return
    count = sum(len(route.actions) for route in config.routes)
    print(f"{options.config}: good ({len(config.routes)} routes, {count} actions, {len(config.accounts)} accounts)")


def _loaded(api_version: str | None = None) -> tuple[Config | None, Sequence[Problem]]:
    """The config, or None where it is not sound, and every problem in it."""
    from gateway.config.diagnostics.problem import ConfigError

    try:
        config = load_config(checks_fields=True, api_version=api_version)
    except ConfigError as error:
        return None, error.problems
    return config, config.warnings


def _changed(now: Sequence[Problem], api_version: str) -> Sequence[Problem]:
    """What a version of Stripe's API would change; where the config does not load, why not."""
    from gateway.config.checks.ignores import OF_CHECK
    from gateway.stripe import objects

    if not _VERSION.fullmatch(api_version):
        raise fail(f"{api_version!r} is no version of Stripe's API, such as {objects.api_version()}", code=2)
    if unsound := [problem for problem in now if problem.severity == "error" and problem.code not in OF_CHECK]:
        return unsound
    if api_version > objects.api_version():
        print(f"what is known of Stripe's API ends with {objects.api_version()}", file=sys.stderr)
    told = {(problem.where, problem.message) for problem in now if problem.severity == "error"}
    _, then = _loaded(api_version)
    return [problem for problem in then if problem.code == "moved" and (problem.where, problem.message) not in told]


def _print(problems: Sequence[Problem], as_json: bool) -> None:
    from gateway.config.diagnostics.render import report, rows

    if as_json:
        print_json(rows(problems))
    elif problems:
        print(report(problems, str(options.config), colours=has_colours(sys.stderr)), file=sys.stderr)
