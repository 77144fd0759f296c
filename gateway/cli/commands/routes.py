"""gateway routes: what each is for and how it stands: list, pause, resume. Works beside a running gateway, and without
one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.main import app
from gateway.cli.on_inbox import with_operations
from gateway.cli.options import Json
from gateway.cli.output import clean, print_json, print_rows

if TYPE_CHECKING:
    from gateway.admin.operations import Operations
    from gateway.admin.reports.routes import RouteOut

routes = typer.Typer(no_args_is_help=True, help="Routes: list, pause, resume.")
app.add_typer(routes, name="routes")


async def _all(operations: Operations) -> list[RouteOut]:
    from gateway.admin.reports.routes import routes as all_routes

    return await all_routes(operations)


@routes.command("list")
def list_routes(as_json: Json = False) -> None:
    """List routes: who answers for each, whether it is paused or disabled, and what it still owes."""
    rows = [route.model_dump(mode="json") for route in with_operations(_all)]
    columns = ["name", "owner", "state", "since", "waiting", "dead", "reason", "description"]
    print_rows(rows, columns, as_json=as_json)


@routes.command("pause")
def pause(
    names: list[str],
    reason: Annotated[str, typer.Option(help="Shown wherever the pause is.")] = "",
    as_json: Json = False,
) -> None:
    """Pause routes until they are resumed: their deliveries wait, and are charged no attempts."""
    _change("pause", names, reason, "paused until it is resumed", as_json)


@routes.command("resume")
def resume(names: list[str], as_json: Json = False) -> None:
    """Resume paused routes: their deliveries run again at once."""
    _change("resume", names, "", "working", as_json)


def _change(what: str, names: list[str], reason: str, done: str, as_json: bool) -> None:
    from gateway.cli.inbox import this_person

    async def work(operations: Operations) -> list[dict[str, Any]]:
        if what == "pause":
            await operations.pause_routes(this_person(), names, reason)
        else:
            await operations.resume_routes(this_person(), names)
        return [route.model_dump(mode="json") for route in await _all(operations) if route.name in names]

    changed = with_operations(work)
    if as_json:
        print_json(changed)
        return
    for name in names:
        print(clean(f"{name} is {done}"))
