"""gateway send: signs an event with the account's secret and posts it."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.app import app, clean, fail, load_config, run
from gateway.errors import UsageError


def override(event: dict[str, Any], assignment: str) -> None:
    """Sets `data.object.amount_total=5000`: a JSON value, else text. Raises UsageError."""
    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise UsageError(f"--override {assignment!r}: write it as data.object.amount_total=5000")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    part: Any = event
    *way, last = path.split(".")
    for step in way:
        part = part.setdefault(step, {}) if isinstance(part, dict) else None
        if not isinstance(part, dict):
            raise UsageError(f"--override {assignment!r}: {step} is no mapping")
    part[last] = value


def event_from(source: str) -> dict[str, Any]:
    """An event from a file, or a plausible one of a type. Raises UsageError."""
    file = Path(source)
    if file.suffix == ".json" or file.is_file():
        try:
            event = json.loads(file.read_bytes())
        except OSError as error:
            raise UsageError(f"{source}: {error.strerror}") from None
        except ValueError as error:
            raise UsageError(f"{source}: not JSON: {error}") from None
        if not isinstance(event, dict):
            raise UsageError(f"{source}: an event is a JSON object")
        return event
    from gateway.testing import make_event

    return make_event(source)


@app.command()
def send(
    source: Annotated[str, typer.Argument(metavar="EVENT.json|TYPE", help="A file, or a type such as invoice.paid.")],
    account: Annotated[str | None, typer.Option(help="Whose secret signs; default: the first account.")] = None,
    url: Annotated[str | None, typer.Option(help="Default: the server.listen of the config.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--override", help="data.object.amount_total=5000")] = None,
    same_id: Annotated[
        bool, typer.Option("--same-id", help="Keep the file's event id instead of a fresh one.")
    ] = False,
) -> None:
    """Sign an event and post it to the gateway."""
    config = load_config()
    name = account or next(iter(config.accounts))
    if name not in config.accounts:
        raise fail(f"there is no account {name}; known: {', '.join(config.accounts)}", 2)
    event = event_from(source)
    if not same_id and Path(source).is_file():
        event["id"] = "evt_1S" + secrets.token_hex(9)
    for assignment in overrides or ():
        override(event, assignment)
    scheme = "https" if config.settings.server.tls else "http"
    listen = config.settings.server.listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
    target = url or f"{scheme}://{listen}/webhooks/{name}"
    status, answer = run(lambda: _post(target, event, config.accounts[name].signing_secrets[0]))
    print(f"{event.get('id')} {event.get('type')} -> {status} {clean(answer)}")
    if status != 200:
        raise typer.Exit(1)


async def _post(url: str, event: dict[str, Any], secret: str) -> tuple[int, str]:
    import aiohttp

    from gateway.testing import signed_request

    body = json.dumps(event, ensure_ascii=False).encode()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
            session.post(url, data=body, headers=signed_request(body, secret)) as response,
        ):
            return response.status, await response.text()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise UsageError(f"no gateway answers at {url}: {error}") from None
