"""gateway diff: what a reload would change, and what it would have changed for the events that are stored."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.commands.reload import control_socket, print_changes, print_refusal
from gateway.cli.main import BadUsage, app, environment, load_config, options, with_store
from gateway.cli.options import Many, moment
from gateway.cli.output import bars, clean, print_json, print_table

if TYPE_CHECKING:
    from gateway.simulation.hindsight import Hindsight, Judged
    from gateway.store.protocol import Store

MOST_COUNTED = 10_000_000


@app.command()
def diff(
    file: Annotated[
        Path | None, typer.Argument(metavar="NEW.yaml", help="Compared with what is in force. Default: --config.")
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(metavar="7d|TIME", help="Judge the events stored since then by --config and by NEW.yaml."),
    ] = None,
    type: Many = None,
    account: Many = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="With --over: show samples side by side.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 where something would change.")] = False,
) -> None:
    """Say what a reload of the running gateway would change. Changes nothing, and sends nothing.

    With --over the stored events go through both configurations: which deliveries there would have been that were
    not, or not any more, or otherwise.
    """
    if over is not None:
        _over(file, over, type, account, verbose=verbose, as_json=as_json, exit_code=exit_code)
        return
    if type or account or verbose:
        raise BadUsage("--type, --account and --verbose go with --over")
    from gateway.app.control_socket import ask

    answer = ask(control_socket(), f"diff {(file or options.config).absolute()}")
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


def _over(
    file: Path | None, over: str, type: list[str] | None, account: list[str] | None, *, verbose: bool, as_json: bool,
    exit_code: bool,
) -> None:  # fmt: skip
    from gateway.config.load import load
    from gateway.core.model import EventFilter
    from gateway.simulation.hindsight import look_back, rows

    if file is None:
        raise BadUsage("--over compares two files: gateway diff NEW.yaml --over 7d")
    where = EventFilter(accounts=account or (), types=type or (), since=moment(over, "--over"))
    before, after = load_config(), load(file, environment())

    async def work(store: Store) -> Hindsight:
        total = await store.count_events(where, at_most=MOST_COUNTED)
        with bars("events", transient=True) as show:
            async for seen in look_back(store, before, after, where):
                show("events", seen.events, total)
        return seen

    result = with_store(work)
    if as_json:
        print_json({"routes": result.routes, "events": result.events, "judged": result.judged,
                    "unreadable": result.unreadable, "changes": rows(result)})  # fmt: skip
    else:
        _print(result, verbose=verbose)
    if exit_code and result.differs:
        raise typer.Exit(1)


def _print(result: Hindsight, *, verbose: bool) -> None:
    from gateway.simulation.hindsight import rows

    if not result.routes:
        print("no route differs")
        return
    print(clean(f"routes that differ: {', '.join(result.routes)}"))
    print(f"{result.events:,} events looked at, {result.judged:,} of types that they take")
    if result.unreadable:
        print(f"{result.unreadable:,} could not be read any more")
    if not result.differs:
        print("each delivery would have been the same")
        return
    columns = ["route", "action", "change", "deliveries"]
    changes = rows(result)
    print_table([*columns, "event"], [[*(row[column] for column in columns), row["samples"][0]] for row in changes])
    if not verbose:
        return
    for row in changes:
        samples = result.actions[row["route"], row["action"]].samples[row["change"]]
        for sample in samples:
            print(clean(f"\n{row['route']}/{row['action']} {row['change']}: {sample.event_id} of {sample.account}"))
            for line in difflib.unified_diff(
                list(_lines(sample.before)), list(_lines(sample.after)), "before", "after", lineterm="", n=1
            ):
                print(clean(f"    {line}"))


def _lines(judged: Judged) -> Iterator[str]:
    from gateway.config.yaml.writing import as_yaml

    yield f"({judged.state}{f': {judged.reason}' if judged.reason else ''})"
    if judged.rendered is not None:
        yield from as_yaml(judged.rendered, width=10_000, shows_lines=True).splitlines()
