"""gateway send: signs an event with the account's secret and posts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.main import BadUsage, app, load_config, options, run
from gateway.cli.output import clean, fail

if TYPE_CHECKING:
    from gateway.config.load import Config


def assign(event: dict[str, Any], assignment: str) -> None:
    """Sets `data.object.amount_total=5000`: a JSON value, else text. A number steps into a list. Raises BadUsage."""
    from gateway.testing import override

    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise BadUsage(f"--override {assignment!r}: write it as data.object.amount_total=5000")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    try:
        override(event, path, value)
    except ValueError as error:
        raise BadUsage(f"--override {assignment!r}: {error}") from None


def is_file(source: str) -> bool:
    """Whether EVENT.json is meant, rather than a type."""
    return source.endswith(".json") or "/" in source or Path(source).is_file()


def event_from(source: str, *, thin: bool = False, scenario: str | None = None) -> dict[str, Any]:
    """An event from a file, or a plausible one of a type; `thin`: in its thin form. Raises BadUsage."""
    if not is_file(source):
        from gateway.stripe.event_types import every_type, is_thin, nearest
        from gateway.testing import UnknownScenarioError, make_event, thin_event
        from gateway.testing.events import THIN_SCENARIO

        if source not in every_type() and (near := nearest(source)) is not None:
            raise BadUsage(
                f"there is no event type {source}; did you mean {near}? One that is newer than this gateway can be "
                "sent as a file"
            )
        if (thin or is_thin(source)) and scenario is not None:
            raise BadUsage(f"--as {scenario}: {THIN_SCENARIO}")
        if is_thin(source):
            return thin_event(source)
        try:
            return thin_event(f"v1.{source}") if thin else make_event(source, scenario=scenario)
        except UnknownScenarioError as error:
            raise BadUsage(f"--as {scenario}: {error}") from None
    if thin or scenario is not None:
        raise BadUsage(f"{'--thin' if thin else '--as'} makes an event of a type; a file is sent as it is")
    try:
        event = json.loads(Path(source).read_bytes())
    except OSError as error:
        raise BadUsage(f"{source}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadUsage(f"{source}: not JSON: {error}") from None
    if not isinstance(event, dict):
        raise BadUsage(f"{source}: an event is a JSON object")
    return event


def connect(event: dict[str, Any], account_id: str) -> None:
    """Makes it an event of a connected account. Raises BadUsage."""
    if not account_id.startswith("acct_"):
        raise BadUsage(f"--connected-account {account_id}: it begins with acct_")
    event["context" if event.get("object") == "v2.core.event" else "account"] = account_id


@app.command()
def send(
    source: Annotated[str, typer.Argument(metavar="EVENT.json|TYPE", help="A file, or a type such as invoice.paid.")],
    account: Annotated[str | None, typer.Option(help="Whose secret signs; default: the first account.")] = None,
    url: Annotated[str | None, typer.Option(help="Default: the server.listen of the config.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--override", help="data.object.amount_total=5000")] = None,
    same_id: Annotated[
        bool, typer.Option("--same-id", help="Keep the file's event id instead of a fresh one.")
    ] = False,
    scenario: Annotated[
        str | None, typer.Option("--as", metavar="SCENARIO", help="As `gateway types TYPE` lists: --as past-due.")
    ] = None,
    thin: Annotated[bool, typer.Option("--thin", help="In its thin form: v1.TYPE.")] = False,
    connected_account: Annotated[
        str | None, typer.Option(metavar="ACCT", help="As an event of this connected account.")
    ] = None,
) -> None:
    """Sign an event and post it to the gateway."""
    from gateway.testing import make_event_id

    event = event_from(source, thin=thin, scenario=scenario)
    if connected_account is not None:
        connect(event, connected_account)
    for assignment in overrides or ():
        assign(event, assignment)
    if not same_id and is_file(source):
        event["id"] = make_event_id()
    # A file that is not to change goes out byte for byte.
    as_it_is = is_file(source) and same_id and not overrides and connected_account is None
    body = Path(source).read_bytes() if as_it_is else json.dumps(event).encode()
    config = load_config()
    name = account or next(iter(config.accounts))
    if name not in config.accounts:
        raise fail(f"there is no account {name}; known: {', '.join(config.accounts)}", 2)
    target = url or local_url(config, name)
    status, answer = run(lambda: post(target, body, config.accounts[name].signing_secrets[0]))
    print(clean(f"{event.get('id')} {event.get('type')} -> {status} {answer}"))
    if status != 200:
        raise typer.Exit(1)


def local_url(config: Config, account: str) -> str:
    """Where the gateway of a configuration takes an account's events, from this machine."""
    scheme = "https" if config.settings.server.tls else "http"
    listen = config.settings.server.listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
    return f"{scheme}://{listen}/webhooks/{account}"


async def post(url: str, body: bytes, secret: str) -> tuple[int, str]:
    """Posts an event as Stripe would; the status and the answer. Raises typer.Exit, with what is wrong told, where
    nobody answers.
    """
    import aiohttp

    from gateway.core.model import EventSource
    from gateway.intake.webhook import SOURCE_HEADER
    from gateway.testing import signed_request

    headers = {**signed_request(body, secret), SOURCE_HEADER: EventSource.SEND.value}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return response.status, (await response.content.read(65536)).decode("utf-8", "replace")
    except aiohttp.InvalidURL:
        raise BadUsage(f"--url {url!r} is no URL") from None
    except TimeoutError:
        raise fail(f"no answer from {url} within 30 s") from None
    except (aiohttp.ClientError, OSError) as error:
        start = "gateway dev" if options.dev else "gateway serve"
        raise fail(f"no gateway answers at {url}: {error}; `{start}` in another terminal starts one") from None
