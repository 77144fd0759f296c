"""gateway doctor: contacts everything that the config talks of; changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.main import BadUsage, app, load_config, run
from gateway.cli.output import clean, print_json

if TYPE_CHECKING:
    from gateway.cli.doctor.run import Line

_COLOURS = {"good": "green", "note": "yellow", "bad": "red"}


@app.command()
def doctor(
    only: Annotated[
        list[str] | None, typer.Option("--only", help="A connection, an account, or `inbox`; may be given often.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="How long each may take.")] = "10s",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array of findings.")] = False,
) -> None:
    """Ask every connection and account whether all is there. Changes nothing and sends nothing."""
    import structlog

    from gateway.cli.doctor.run import checks_of, examine, masked
    from gateway.core.spelling import did_you_mean
    from gateway.plugin import parse_duration
    from gateway.plugin.quoting import hiding

    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise BadUsage(f"--timeout: {error}") from None
    config = load_config()
    checks = checks_of(config, structlog.get_logger(), seconds)
    known = [check.name for check in checks]
    for name in only or ():
        if name not in known:
            hint = did_you_mean(name, known)
            raise BadUsage(f"--only: there is no {name!r}" + (f"; {hint}" if hint else ""))
    wanted = [check for check in checks if not only or check.name in only]
    mask = config.masker.mask
    with hiding(mask, mask):
        lines = [masked(line, mask) for line in run(lambda: examine(wanted, seconds))]
    if as_json:
        print_json([_row(line) for line in lines])
    else:
        _print(lines)
    if any(line.finding.verdict == "bad" for line in lines):
        raise typer.Exit(1)


def _row(line: Line) -> dict[str, Any]:
    finding = line.finding
    return {
        "kind": line.kind,
        "name": line.name,
        "use": finding.use or None,
        "verdict": finding.verdict.value,
        "text": finding.text,
        "fix": finding.fix or None,
    }


def _print(lines: Sequence[Line]) -> None:
    names = [f"{line.kind} {line.name}" + (f" ({line.finding.use})" if line.finding.use else "") for line in lines]
    width = min(48, max(map(len, names), default=0))
    for name, line in zip(names, lines, strict=True):
        verdict, fix = line.finding.verdict.value, f" -> {line.finding.fix}" if line.finding.fix else ""
        word = typer.style(f"{verdict:<4}", fg=_COLOURS[verdict])  # echo drops colours where nobody sees them
        typer.echo(f"{word}  {clean(name):<{width}}  {clean(line.finding.text + fix)}")
    counted = Counter(line.finding.verdict.value for line in lines)
    typer.echo(", ".join(f"{counted[verdict]} {verdict}" for verdict in _COLOURS if counted[verdict]))
