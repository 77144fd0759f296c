"""gateway dev: `serve` with local catchers for mail, HTTP and Slack: no account needed, nothing real is reached."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.event_loop import run_loop
from gateway.cli.main import app, options
from gateway.cli.output import clean

if TYPE_CHECKING:
    from gateway.app.gateway import Ready
    from gateway.cli.dev.environment import DevEnvironment
    from gateway.config.load import Config
    from gateway.config.runtime import RuntimeConfig
    from gateway.core.model import Claim, Outcome

SHOWN_ROWS = 5  # of one delivery


def rows_of(config: Config, rendered: Any) -> list[tuple[str, str]]:
    """The rows that a db_upsert wrote, read back from its file: (title, text) each."""
    from gateway.plugin import DatabaseConnection

    written = rendered if isinstance(rendered, dict) else {}
    connection = config.connections.get(str(written.get("connection")))
    key = written.get("key")
    keys = [row_key for row_key in (key if isinstance(key, list) else [key]) if isinstance(row_key, dict) and row_key]
    if not isinstance(connection, DatabaseConnection):
        return []
    path = config.folder / connection.url.get_secret_value().removeprefix("sqlite:///")
    table = str(written.get("table")).replace('"', '""')
    rows = []
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, timeout=1)) as database:
        database.row_factory = sqlite3.Row
        for row_key in keys[:SHOWN_ROWS]:
            terms = " AND ".join('"{}" = ?'.format(str(column).replace('"', '""')) for column in row_key)
            row = database.execute(f'SELECT * FROM "{table}" WHERE {terms}', list(row_key.values())).fetchone()  # noqa: S608
            if row is not None:
                text = "\n".join(f"{column}: {row[column]}" for column in row.keys())  # noqa: SIM118
                rows.append((f"row in {written['connection']}.{written['table']} ({path.name})", text))
    return rows


def send_line(config: Config, ready: Ready) -> str:
    """The line to run in another terminal."""
    program = Path(sys.argv[0])
    words = [os.path.relpath(program) if ".venv" in program.parts else "gateway"]
    if options.config != Path("gateway.yaml"):
        words += ["--config", str(options.config)]
    words += ["--dev", "send", "checkout.session.completed"]
    if config.settings.server.listen.endswith(":0"):
        words += ["--url", f"{ready.public_url}/webhooks/{next(iter(config.accounts))}"]
    return shlex.join(words)


def uncaught(config: Config) -> list[str]:
    """The connections that only a plugin knows how to reach: nothing stands in front of them."""
    from gateway.plugin import DatabaseConnection, HttpConnection, SlackConnection, SmtpConnection

    caught = (DatabaseConnection, HttpConnection, SlackConnection, SmtpConnection)
    return [name for name, connection in config.connections.items() if not isinstance(connection, caught)]


def introduce(ready: Ready, config: Config, environ: DevEnvironment, *, opens: bool) -> None:
    """Says where it is and what to try."""
    print("\nGateway for development. Stripe posts to")
    for account in config.accounts:
        print(f"    {ready.public_url}/webhooks/{account}")
    if environ.invented:
        print(f"Not set, so invented: {', '.join(sorted(environ.invented))}")
    print("Mail, forwards and Slack messages are caught and shown here; databases are below data/dev/.")
    print(f"Console, signed in:\n    {ready.admin.sign_in_url}")
    if opens:
        import webbrowser

        webbrowser.open(ready.admin.sign_in_url)
    if reached := uncaught(config):
        print(f"NOT caught, so really reached: {', '.join(reached)} (connections of a plugin's own type)")
    print(f"\nIn another terminal:\n\n    {clean(send_line(config, ready))}\n", flush=True)


@app.command()
def dev(
    opens: Annotated[bool, typer.Option("--open", help="Open the console in a browser, signed in.")] = False,
) -> None:
    """Run the gateway with catchers for mail, HTTP and Slack. No account needed."""
    from gateway.admin.outbox import Outbox
    from gateway.app.gateway import GatewayOptions
    from gateway.app.serving import serve
    from gateway.cli.dev.catchers import catching, show
    from gateway.cli.dev.environment import DevEnvironment, DevFetcher, DevWriters, overlay
    from gateway.config.load import load
    from gateway.core.model import Finish
    from gateway.store.keeping import KeptText
    from gateway.telemetry import logging as logs

    options.dev = True
    environ = DevEnvironment(os.environ, options.config)
    config = overlay(load(options.config, environ))
    log = logs.configure(config.settings.log.level, config.settings.log.format)

    running: list[RuntimeConfig] = []

    def on_ready(ready: Ready) -> None:
        running.append(ready.reloader.live)
        introduce(ready, config, environ, opens=opens)

    async def main() -> None:
        outbox = Outbox()
        async with catching(outbox) as catchers:

            async def load_again(previous: Config) -> Config:
                loaded = await asyncio.to_thread(load, previous.path, environ, previous)
                return await catchers.lead(overlay(loaded))

            def observer(claim: Claim, ending: Outcome) -> None:
                if not isinstance(ending, Finish) or ending.output is None:
                    return
                rendered = json.loads(ending.rendered) if isinstance(ending.rendered, KeptText) else ending.rendered
                for live in running:
                    used = uses(live.config, claim)
                    if used == "db_upsert":
                        for title, text in rows_of(live.config, rendered):
                            outbox.add("row", title, [], text, delivery_id=claim.delivery.id)
                            show(title, text)
                    elif used == "slack" and isinstance(rendered, dict):
                        outbox.link("slack", str(rendered.get("text") or ""), claim.delivery.id)

            led = await catchers.lead(config)
            # a terminal that is closed sends SIGHUP: it ends the gateway that was tried out there
            await serve(
                led,
                log=log,
                on_ready=on_ready,
                options=GatewayOptions(
                    observer=observer,
                    fetcher=DevFetcher(),
                    writers=DevWriters(outbox),
                    outbox=outbox,
                    load=load_again,
                ),
                is_hangup_end=sys.stdin.isatty(),
            )

    run_loop(main())


def uses(config: Config, claim: Claim) -> str | None:
    """The plugin that a claim's action uses."""
    route = next((route for route in config.routes if route.name == claim.delivery.route), None)
    action = route.action(claim.delivery.action) if route is not None else None
    return action.uses if action is not None else None
