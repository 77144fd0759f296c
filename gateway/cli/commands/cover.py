"""gateway cover: which routes, actions and branches no case in config/tests/ reaches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.commands.test import CASES, Configs, load_known_cases, run_all
from gateway.cli.main import app, options, run
from gateway.cli.output import clean, print_json

if TYPE_CHECKING:
    from gateway.simulation.cases.coverage import Coverage


@app.command()
def cover(
    files: Annotated[list[Path] | None, typer.Argument(help=f"Default: {CASES} beside gateway.yaml.")] = None,
    at_least: Annotated[
        float | None, typer.Option(min=0, max=100, metavar="PERCENT", help="Exit 1 where less than that is reached.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Everything that can happen, and the cases that reach it.")
    ] = False,
) -> None:
    """Say which routes, actions and branches no case in config/tests/ reaches. Sends nothing."""
    from gateway.simulation.cases.coverage import Seen

    configs = Configs(options.config)
    cases = load_known_cases(files, configs)
    results = run(lambda: run_all(cases, configs))
    seen = Seen()
    for result in results:
        seen.add(result.case.name, configs.get(result.case.env), result.results)
    coverage = seen.coverage(configs.get(cases[0].env))
    failed = sum(not result.passed for result in results)
    if as_json:
        print_json(_as_json(coverage))
    else:
        _print(coverage, failed)
    if at_least is not None and coverage.percent < at_least:
        raise typer.Exit(1)


def _as_json(coverage: Coverage) -> dict[str, object]:
    return {
        "percent": round(coverage.percent, 1),
        "disabled": list(coverage.disabled),
        "points": [
            {
                "route": point.route,
                "action": point.action,
                "what": point.what,
                "file": point.where.file,
                "line": point.where.line,
                "cases": list(cases),
            }
            for point, cases in coverage.reached.items()
        ],
    }


def _print(coverage: Coverage, failed: int) -> None:
    from gateway.simulation.cases.coverage import WORDS

    for point, cases in coverage.reached.items():
        if not cases:
            name = point.route if point.action is None else f"{point.route}.{point.action}"
            print(clean(f"{point.where.file}:{point.where.line}: {name}: {WORDS[point.what]}"))
    if coverage.disabled:
        print(clean(f"disabled, and not counted: {', '.join(coverage.disabled)}"))
    if failed:
        print(f"{failed} of the cases {'fails' if failed == 1 else 'fail'}: gateway test says why")
    counts = [
        "{} of {} routes".format(*coverage.counted("route")),
        "{} of {} actions".format(*coverage.counted("action")),
        "{} of {} branches".format(*coverage.counted("branch")),
    ]
    print(f"{_floored(coverage.percent)}% reached: {', '.join(counts)}")


def _floored(percent: float) -> float:
    """Never 100 where something is missing."""
    return int(percent * 10) / 10
