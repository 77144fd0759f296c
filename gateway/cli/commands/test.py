"""gateway test: runs the cases in config/tests/ against the routes. Nothing is sent, and no store is needed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.dev.environment import Placeholders
from gateway.cli.main import BadUsage, app, options, run
from gateway.cli.output import clean, print_json
from gateway.core.errors import UsageError

if TYPE_CHECKING:
    from gateway.config.diagnostics.problem import Problem
    from gateway.config.load import Config
    from gateway.simulation.cases.load import Case
    from gateway.simulation.cases.run import CaseResult

CASES = "config/tests/*.yaml"
_STYLES = {"head": "bold red", "expected": "green", "found": "red", "plain": ""}


class Configs:
    """The configuration, once for each set of variables that cases ask for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loaded: dict[frozenset[tuple[str, str]], Config] = {}

    def get(self, env: Mapping[str, str]) -> Config:
        """Raises UsageError with all that is wrong."""
        from gateway.config.diagnostics.problem import ConfigError
        from gateway.config.diagnostics.render import report
        from gateway.config.load import load

        key = frozenset(env.items())
        if key not in self._loaded:
            environ = Placeholders(
                env, self._path
            )  # the machine's own environment plays no part: a case ends the same everywhere
            try:
                self._loaded[key] = load(self._path, environ)
            except ConfigError as error:
                told = report(error.problems, error.file)
                raise UsageError(f"{told}{_about_placeholders(environ.invented)}") from None
        return self._loaded[key]


def _about_placeholders(invented: Set[str]) -> str:
    if not invented:
        return ""
    names = ", ".join(sorted(invented))
    return f"\nplaceholders stand in for {names}: where one does not fit, give a value under env: in the test file"


@app.command("test")
def run_cases(
    files: Annotated[list[Path] | None, typer.Argument(help=f"Default: {CASES} beside gateway.yaml.")] = None,
    wanted: Annotated[str | None, typer.Option("--filter", help="Only cases whose name holds this text.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array of cases.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name the cases that passed, too.")] = False,
    recorded: Annotated[
        str | None,
        typer.Option("--record", metavar="EVENT_ID", help="Instead: write a case of an event of the inbox."),
    ] = None,
    account: Annotated[str | None, typer.Option(help="With --record, where several accounts have that event.")] = None,
    name: Annotated[str | None, typer.Option(help="With --record: what the case is called.")] = None,
) -> None:
    """Run the cases in config/tests/ against the routes. Sends nothing; needs no store and no secrets."""
    from gateway.simulation.cases import report

    configs = Configs(options.config)
    if recorded is not None:
        from gateway.cli.recorder import record_case

        if files or wanted is not None or as_json or junit is not None:
            raise BadUsage("--record writes one case; it goes with --account and --name alone")
        record_case(recorded, account, name, configs.get({}))
        return
    cases = load_known_cases(files, configs, wanted)
    results = run(lambda: run_all(cases, configs))
    if junit is not None:
        _write(junit, report.as_junit(results))
    if as_json:
        print_json(report.as_json(results))
    else:
        _print(results, verbose)
        if files is None and wanted is None:
            _print_untested(results, configs.get(cases[0].env))
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def load_known_cases(files: Sequence[Path] | None, configs: Configs, wanted: str | None = None) -> list[Case]:
    """The cases of these files, else of all, whose names hold a text. Raises BadUsage where there are none, ConfigError
    with all that is wrong with them.
    """
    cases = _cases(files or _default_files())
    cases = [case for case in cases if wanted is None or wanted.casefold() in case.name.casefold()]
    if not cases:
        raise BadUsage(f"no case has {wanted!r} in its name" if wanted is not None else "the files hold no cases")
    _refuse([problem for case in cases for problem in _unknown_names(case, configs)])
    return cases


def _default_files() -> list[Path]:
    folder = options.config.parent
    files = sorted(folder.glob(CASES))
    if not files:
        raise BadUsage(f"there are no tests: no file is {folder / CASES}; docs/testing-routes.md shows how to begin")
    return files


def _cases(files: Sequence[Path]) -> list[Case]:
    from gateway.simulation.cases.load import load_cases

    cases: list[Case] = []
    problems: list[Problem] = []
    for file in files:
        if not file.is_file():
            raise BadUsage(f"there is no file {file}")
        loaded, wrong = load_cases(file)
        cases += loaded
        problems += wrong
    _refuse(problems)
    return cases


def _refuse(problems: Sequence[Problem]) -> None:
    """Ends with what is wrong with test files, if anything is."""
    from gateway.config.diagnostics.problem import ConfigError

    if problems:
        files = dict.fromkeys(problem.where.file for problem in problems)
        raise ConfigError(", ".join(files), problems)


def _unknown_names(case: Case, configs: Configs) -> list[Problem]:
    from gateway.simulation.cases.load import unknown_names

    return unknown_names(case, configs.get(case.env))


async def run_all(cases: Sequence[Case], configs: Configs) -> list[CaseResult]:
    """One after the other."""
    from gateway.simulation.cases.run import run_case

    return [await run_case(case, configs.get(case.env)) for case in cases]


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise BadUsage(f"--junit {path}: {error.strerror}") from None


def _print(results: Sequence[CaseResult], verbose: bool) -> None:
    """Failures with their differences, and how many there were; coloured on a terminal."""
    from rich.console import Console
    from rich.text import Text

    from gateway.simulation.cases.report import failure_lines

    console = Console(highlight=False, soft_wrap=True)
    for result in results:
        if not result.passed:
            for kind, text in failure_lines(result):
                console.print(Text(clean(text), style=_STYLES[kind]))
            console.print()
        elif verbose:
            console.print(Text(clean(f"passed {result.case.file}: {result.case.name}")))
    failed = sum(not result.passed for result in results)
    summary = f"{len(results) - failed} passed, {failed} failed"
    console.print(Text(summary, style="bold red" if failed else "bold green"))
    sys.stdout.flush()


def _print_untested(results: Sequence[CaseResult], config: Config) -> None:
    matched = {route for result in results for route in result.routes}
    missing = [route.name for route in config.routes if route.name not in matched]
    if missing:
        print(clean(f"in no case an event reaches: {', '.join(missing)}"))
