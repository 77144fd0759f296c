"""gateway dev: `serve` with local catchers for mail, HTTP and Slack: no account needed, nothing real is reached."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.app import app, clean, options

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.model import Claim, Finish
    from gateway.settings.load import Config


def show(title: str, text: str) -> None:
    """One caught thing, for the reader."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    Console(highlight=False).print(Panel(Text(clean(text)), title=Text(clean(title)), title_align="left"))
    sys.stdout.flush()


class MailCatcher:
    """aiosmtpd's handler: shows each mail."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Takes one mail."""
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        body = message.get_body(("plain", "html"))
        text = body.get_content() if body is not None else ""
        heads = "\n".join(f"{name}: {message[name]}" for name in ("From", "To", "Subject", "Message-ID"))
        show("mail", f"{heads}\n\n{text.strip()}")
        return "250 OK"


async def _caught_http(request: web.Request) -> web.Response:
    from aiohttp import web
    from standardwebhooks.webhooks import Webhook, WebhookVerificationError

    body = await request.read()
    name = request.match_info["name"]
    signed = "not signed"
    for secret in request.app[_secrets()].get(name, ()):
        try:
            Webhook(secret).verify(body, dict(request.headers))
            signed = "signature verified"
            break
        except (WebhookVerificationError, ValueError):
            signed = "signature WRONG"
    shown = body[:600].decode("utf-8", "replace")
    heads = "\n".join(f"{key}: {value}" for key, value in request.headers.items() if key.lower().startswith("webhook"))
    show(f"forward to {name} ({signed})", f"{request.method}\n{heads}\n\n{shown}{' ...' if len(body) > 600 else ''}")
    return web.json_response({"ok": True})


async def _caught_slack(request: web.Request) -> web.Response:
    from aiohttp import web

    message = await request.json()
    blocks = json.dumps(message["blocks"], indent=2, ensure_ascii=False) if message.get("blocks") else ""
    show(f"Slack message by {request.match_info['name']}", f"{message.get('text', '')}\n{blocks}".strip())
    return web.Response(text="ok")


def _secrets() -> Any:
    from aiohttp import web

    global _SECRETS
    if _SECRETS is None:
        _SECRETS = web.AppKey("secrets", dict)
    return _SECRETS


_SECRETS: Any = None


@contextlib.asynccontextmanager
async def caught(config: Config) -> AsyncIterator[Config]:
    """The config with its mail, HTTP and Slack connections led to catchers on loopback, which run meanwhile."""
    import asyncio

    from aiohttp import web
    from aiosmtpd.smtp import SMTP
    from pydantic import SecretStr

    from gateway.plugin import ConnectionSettings, HttpConnection, SlackConnection, SmtpConnection

    catcher = web.Application()
    catcher[_secrets()] = {n: c.secrets for n, c in config.connections.items() if isinstance(c, HttpConnection)}
    catcher.router.add_route("*", "/http/{name}{rest:.*}", _caught_http)
    catcher.router.add_post("/slack/{name}", _caught_slack)
    runner = web.AppRunner(catcher, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    loop = asyncio.get_running_loop()
    mail = await loop.create_server(lambda: SMTP(MailCatcher(), enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0)
    port = mail.sockets[0].getsockname()[1]
    connections: dict[str, ConnectionSettings] = {}
    for name, connection in config.connections.items():
        update: dict[str, Any] = {}
        if isinstance(connection, SmtpConnection):
            update = {"host": "127.0.0.1", "port": port, "tls": "none", "username": ""}
        elif isinstance(connection, HttpConnection):
            update = {"url": f"{base}/http/{name}", "allow_private": True}
        elif isinstance(connection, SlackConnection):
            webhook = SecretStr(f"{base}/slack/{name}")
            update = {"webhook_url": webhook, "token": SecretStr("")}
        connections[name] = connection.model_copy(update=update)
    try:
        yield replace(config, connections=connections)
    finally:
        mail.close()
        await runner.cleanup()


def _show_row(config: Config, claim: Claim, finish: Finish) -> None:
    """Reads back and shows the row that a db_upsert wrote."""
    from gateway.plugin import DatabaseConnection

    rendered = finish.rendered if isinstance(finish.rendered, dict) else {}
    connection = config.connections.get(str(rendered.get("connection")))
    if finish.output is None or not isinstance(connection, DatabaseConnection):
        return
    key = rendered.get("key")
    key = key[0] if isinstance(key, list) and key else key
    if not isinstance(key, dict):
        return
    path = config.folder / connection.url.get_secret_value().removeprefix("sqlite:///")
    table = str(rendered["table"])
    terms = " AND ".join(f'"{column}" = ?' for column in key)
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        found = database.execute(f'SELECT * FROM "{table}" WHERE {terms}', list(key.values())).fetchone()  # noqa: S608
        if found is not None:
            text = "\n".join(f"{column}: {found[column]}" for column in found.keys())  # noqa: SIM118
            show(f"row in {rendered['connection']}.{table} ({path.name})", text)


@app.command()
def dev() -> None:
    """Run the gateway with catchers for mail, HTTP and Slack. No account needed."""
    from gateway import logs
    from gateway.cli.dev_mode import DevEnvironment, overlay
    from gateway.cli.serve import run_loop
    from gateway.service import Ready, serve
    from gateway.settings.load import load

    options.dev = True
    environ = DevEnvironment(os.environ)
    config = overlay(load(options.config, environ))
    log = logs.configure(config.settings.log.level, config.settings.log.format)

    def ready(answers: Ready) -> None:
        program = Path(sys.argv[0])
        shown = os.path.relpath(program) if ".venv" in program.parts else "gateway"
        account = next(iter(config.accounts))
        print(f"\nGateway for development: Stripe posts to {answers.public_url}/webhooks/{account}")
        if environ.invented:
            print(f"Not set, so invented: {', '.join(sorted(environ.invented))}")
        print("Mail, forwards and Slack messages are caught and shown here; databases are below data/dev/.")
        print(f"\nIn another terminal:\n\n    {shown} --dev send checkout.session.completed\n", flush=True)

    async def main() -> None:
        async with caught(config) as led:

            def observer(claim: Claim, finish: Finish) -> None:
                _show_row(led, claim, finish)

            await serve(led, log=log, on_ready=ready, observer=observer)

    run_loop(main())
