"""gateway connections: how they stand: list, show, pause, resume. Works beside a running gateway, and without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.commands.events import Json
from gateway.cli.main import BadUsage, app, clean, fail, load_config, print_json, print_table, with_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.model import ConnectionChange, ConnectionStatus
    from gateway.store.protocol import Store

TRIES = 20  # against gateways that change the same connection at the same instant

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


def _types() -> dict[str, str]:
    return {name: settings.type for name, settings in load_config().connections.items()}


def _all(statuses: Mapping[str, ConnectionStatus], types: Mapping[str, str]) -> list[dict[str, Any]]:
    """Those of gateway.yaml in its order, then those that only the store still knows of and that do not work."""
    from gateway.core.model import ConnectionState, ConnectionStatus

    gone = [name for name, one in statuses.items() if name not in types and one.state is not ConnectionState.WORKING]
    return [row(statuses.get(name, ConnectionStatus(name)), types.get(name)) for name in (*types, *gone)]


def _known(name: str, types: Mapping[str, str], statuses: Mapping[str, ConnectionStatus]) -> None:
    if name not in types and name not in statuses:
        raise BadUsage(f"no such connection: {name}; known: {', '.join(types)}")


@connections.command("list")
def list_connections(as_json: Json = False) -> None:
    """List connections, and whether each works, is paused, or is being probed."""
    types = _types()
    found = _all(with_store(lambda store: store.connections()), types)
    if as_json:
        print_json(found)
        return
    columns = ["name", "type", "state", "since", "until", "failures", "reason"]
    print_table(columns, [[one[column] for column in columns] for one in found])


@connections.command("show")
def show_connection(name: str, as_json: Json = False) -> None:
    """Show how one connection stands."""
    from gateway.core.model import ConnectionStatus

    types, statuses = _types(), with_store(lambda store: store.connections())
    _known(name, types, statuses)
    found = row(statuses.get(name, ConnectionStatus(name)), types.get(name))
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        print(f"{key:16} {clean('' if value is None else value)}")


def _change(
    names: list[str], what: str, as_json: bool, change: Callable[[ConnectionStatus], ConnectionChange | None]
) -> None:
    types = _types()

    async def work(store: Store) -> list[dict[str, Any]]:
        from gateway.core.model import ConnectionStatus

        statuses = await store.connections()
        for name in names:
            _known(name, types, statuses)
        done = []
        for name in names:
            for _ in range(TRIES):
                status = statuses.get(name, ConnectionStatus(name))
                wanted = change(status)
                changed = status if wanted is None else await store.change_connection(name, status.version, wanted)
                if changed is not None:
                    done.append(row(changed, types.get(name)))
                    break
                statuses = await store.connections()
            else:
                raise fail(f"{name} is changed by gateways again and again just now; try once more")
        return done

    found = with_store(work)
    if as_json:
        print_json(found)
        return
    for one in found:
        print(clean(f"{one['name']} is {what}"))


@connections.command("pause")
def pause(
    names: list[str],
    reason: Annotated[str, typer.Option(help="Shown wherever the pause is.")] = "",
    as_json: Json = False,
) -> None:
    """Pause connections until they are resumed: their deliveries wait, and are charged no attempts."""
    from gateway.delivery.circuit_breaker import paused_by_hand

    text = "paused by a person" + (f": {reason}" if reason else "")
    _change(names, "paused until it is resumed", as_json, lambda status: paused_by_hand(status, text))


@connections.command("resume")
def resume(names: list[str], as_json: Json = False) -> None:
    """Resume paused connections: their deliveries run again at once."""
    from gateway.delivery.circuit_breaker import resumed

    _change(names, "working", as_json, resumed)
