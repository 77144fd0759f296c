"""gateway connections: how they stand: list, show, pause, resume. Works beside a running gateway, and without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.main import app
from gateway.cli.on_inbox import with_operations
from gateway.cli.options import Json
from gateway.cli.output import clean, print_fields, print_json, print_rows

if TYPE_CHECKING:
    from gateway.admin.operations import Operations
    from gateway.core.model import ConnectionStatus

connections = typer.Typer(no_args_is_help=True, help="Connections: list, show, pause, resume.")
app.add_typer(connections, name="connections")


def row(status: ConnectionStatus, kind: str | None) -> dict[str, Any]:
    """What --json shows of a connection."""
    return {
        "name": status.name,
        "type": kind,  # null: gateway.yaml does not have it any more
        "state": status.state.value,
        "since": status.since.isoformat(timespec="milliseconds") if status.since else None,
        "until": status.until.isoformat(timespec="milliseconds") if status.until else None,
        "failures": status.failures,
        "reason": status.reason,
    }


def _types(operations: Operations) -> dict[str, str]:
    return {name: settings.type for name, settings in operations.config.connections.items()}


@connections.command("list")
def list_connections(as_json: Json = False) -> None:
    """List connections, and whether each works, is paused, or is being probed."""

    async def work(operations: Operations) -> list[dict[str, Any]]:
        """Those of gateway.yaml in its order, then those that only the store still knows of and that do not work."""
        from gateway.core.model import ConnectionState, ConnectionStatus

        types, statuses = _types(operations), await operations.connections()
        stopped = [name for name, status in statuses.items() if status.state is not ConnectionState.WORKING]
        names = dict.fromkeys([*types, *stopped])
        return [row(statuses.get(name, ConnectionStatus(name)), types.get(name)) for name in names]

    columns = ["name", "type", "state", "since", "until", "failures", "reason"]
    print_rows(with_operations(work), columns, as_json=as_json)


@connections.command("show")
def show_connection(name: str, as_json: Json = False) -> None:
    """Show how one connection stands."""

    async def work(operations: Operations) -> dict[str, Any]:
        from gateway.core.model import ConnectionStatus

        statuses = await operations.connections([name])
        return row(statuses.get(name, ConnectionStatus(name)), _types(operations).get(name))

    connection = with_operations(work)
    if as_json:
        print_json(connection)
    else:
        print_fields(connection, 16)


def _print_changed(statuses: list[dict[str, Any]], what: str, as_json: bool) -> None:
    if as_json:
        print_json(statuses)
        return
    for status in statuses:
        print(clean(f"{status['name']} is {what}"))


@connections.command("pause")
def pause(
    names: list[str],
    reason: Annotated[str, typer.Option(help="Shown wherever the pause is.")] = "",
    as_json: Json = False,
) -> None:
    """Pause connections until they are resumed: their deliveries wait, and are charged no attempts."""
    from gateway.cli.inbox import this_person

    async def work(operations: Operations) -> list[dict[str, Any]]:
        statuses = await operations.pause(this_person(), names, reason)
        return [row(status, _types(operations).get(status.name)) for status in statuses]

    _print_changed(with_operations(work), "paused until it is resumed", as_json)


@connections.command("resume")
def resume(names: list[str], as_json: Json = False) -> None:
    """Resume paused connections: their deliveries run again at once."""
    from gateway.cli.inbox import this_person

    async def work(operations: Operations) -> list[dict[str, Any]]:
        statuses = await operations.resume(this_person(), names)
        return [row(status, _types(operations).get(status.name)) for status in statuses]

    _print_changed(with_operations(work), "working", as_json)
