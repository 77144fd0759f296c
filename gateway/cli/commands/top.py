"""gateway top: what waits for each connection, and how it does, drawn anew until Ctrl-C."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.live import repeatedly
from gateway.cli.main import app
from gateway.cli.on_inbox import with_inbox
from gateway.cli.options import Json
from gateway.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from gateway.admin.operations import Operations
    from gateway.cli.api_client import RemoteOperations

COLUMNS = ["connection", "state", "running", "waiting", "oldest", "dead", "reason"]


@app.command()
def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once, for a script.")] = False,
    as_json: Json = False,
) -> None:
    """Show each connection: its state, what waits for it and since when, its dead letters. --json: once."""

    def show() -> None:
        rows = with_inbox(_connections)
        if as_json:
            print_json(rows)
            return
        totals = {name: sum(row[name] for row in rows) for name in ("running", "waiting", "dead")}
        print(f"{datetime.now().astimezone():%H:%M:%S}  " + "  ".join(f"{n:,} {name}" for name, n in totals.items()))
        print_rows(rows, COLUMNS, as_json=False)

    repeatedly(show, watch=not (once or as_json))


async def _connections(inbox: Operations | RemoteOperations) -> list[dict[str, Any]]:
    from gateway.admin.operations import Operations
    from gateway.admin.reports.queues import queues
    from gateway.core.model import ConnectionStatus

    if not isinstance(inbox, Operations):
        return [
            {
                "connection": each.name,
                "state": each.state,
                "running": each.running,
                "waiting": each.pending,
                "oldest": each.oldest_pending_at,
                "dead": each.dead,
                "reason": each.reason,
            }
            for each in await inbox.connections_now()
        ]
    now = datetime.now(UTC)
    statuses = await inbox.connections()
    waiting = queues(inbox.config, await inbox.store.lane_states(), now)
    return [
        {
            "connection": name,
            "state": statuses.get(name, ConnectionStatus(name)).state.value,
            "running": queue.counts["running"],
            "waiting": queue.counts["pending"] + queue.counts["blocked"],
            "oldest": now - timedelta(seconds=queue.oldest_seconds) if queue.oldest_seconds else None,
            "dead": queue.counts["dead"],
            "reason": statuses.get(name, ConnectionStatus(name)).reason,
        }
        for name, queue in waiting.items()
    ]
