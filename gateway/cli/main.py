"""The command line's root: global options, and how errors leave the program."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar

import typer

from gateway import __version__
from gateway.core.errors import GatewayError, UsageError

if TYPE_CHECKING:
    from gateway.cli.inbox import Inbox
    from gateway.config.load import Config
    from gateway.config.partial import StoreAddress
    from gateway.store.encryption.keyring import Keyring
    from gateway.store.protocol import Store

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class BadUsage(UsageError):  # noqa: N818 - reads as what it is
    """The command line itself is wrong: exit 2."""


@dataclass(slots=True)
class Globals:
    """What stands before the command."""

    config: Path = Path("gateway.yaml")
    dev: bool = False
    url: str = ""  # of a gateway's admin listener, to be asked instead of the inbox
    token: str = ""


options = Globals()


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gateway {__version__}")
        raise typer.Exit


@app.callback()
def root(
    config: Annotated[Path, typer.Option(envvar="GATEWAY_CONFIG", help="The configuration.")] = Path("gateway.yaml"),
    dev: Annotated[bool, typer.Option("--dev", help="Use the local inbox and catchers of `gateway dev`.")] = False,
    url: Annotated[
        str, typer.Option(envvar="GATEWAY_URL", help="For events and deliveries: ask the console at this address.")
    ] = "",
    token: Annotated[
        str, typer.Option(envvar="GATEWAY_TOKEN", help="Its admin.token, or viewer_token.", show_envvar=True)
    ] = "",
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Stripe events in; database rows, mails, forwards and Slack messages out. Configured, not coded."""
    options.config = config
    options.dev = dev
    options.url = url.rstrip("/")
    options.token = token


def environment() -> Mapping[str, str]:
    """The environment; in dev, unset variables have harmless values."""
    if options.dev:
        from gateway.cli.dev.environment import DevEnvironment

        return DevEnvironment(os.environ)
    return os.environ


def load_config(*, checks_fields: bool = False) -> Config:
    """The configuration that the options name. Raises ConfigError. `checks_fields`: see `gateway.config.load.load`."""
    from gateway.config.load import load

    config = load(options.config, environment(), checks_fields=checks_fields)
    if options.dev:
        from gateway.cli.dev.environment import overlay

        return overlay(config)
    return config


def store_address() -> StoreAddress:
    """Where the inbox is that the configuration names."""
    from gateway.cli.dev.environment import STORE_URL
    from gateway.config.partial import load_store_address

    found = load_store_address(options.config, environment())
    return replace(found, url=STORE_URL) if options.dev else found


def named_store() -> Store:
    """The inbox that the configuration names, not opened, and with nothing that opens what is sealed in it."""
    from gateway.store import open_store

    found = store_address()
    return open_store(found.url, found.folder)


def named_keyring() -> Keyring:
    """The keys of `store.encrypt`. Raises BadUsage where one is no key, or what they need is not installed."""
    from gateway.store.encryption.keyring import Keyring

    try:
        return Keyring(store_address().keys)
    except ValueError as error:
        raise BadUsage(f"store.encrypt: {error}") from None
    except ImportError:
        raise BadUsage(
            "store.encrypt needs the extra encrypt of the gateway: pip install 'stripe-fulfilment-gateway[encrypt]'"
        ) from None


async def attach_store() -> Store:
    """The inbox, opened beside a gateway that may be running."""
    from gateway.store.encryption.store import with_keys

    keyring = named_keyring()
    store = named_store()
    await store.attach()
    try:
        return await with_keys(store, keyring, strict=False)
    except BaseException:
        await store.close()
        raise


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a command's coroutine."""
    return asyncio.run(main())


def with_inbox(work: Callable[[Inbox], Coroutine[Any, Any, T]]) -> T:
    """Runs `work` on the inbox: through the console's API where `--url` is given, else on the store itself."""

    async def main() -> T:
        if not options.url:
            from gateway.cli.inbox import LocalInbox
            from gateway.config.partial import load_redactions

            store = await attach_store()
            try:
                return await work(LocalInbox(store, load_redactions(options.config, environment())))
            finally:
                await store.close()
        from gateway.cli.api_client import RemoteInbox

        remote = RemoteInbox(options.url, options.token)
        try:
            return await work(remote)
        finally:
            await remote.close()

    return run(main)


def with_store(work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """Runs `work` on the store and closes it."""

    async def main() -> T:
        store = await attach_store()
        try:
            return await work(store)
        finally:
            await store.close()

    return run(main)


def clean(value: object) -> str:
    """Text for a terminal: nothing in it can move the cursor or colour the screen."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in str(value))


def print_json(value: Any) -> None:
    """Machine-readable output."""
    print(json.dumps(value, default=str, indent=2, ensure_ascii=True))


def print_table(columns: list[str], rows: list[list[object]]) -> None:
    """A table for people; what it holds is shown as text, never as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else clean(cell)) for cell in row))
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False).print(table)


def has_colours(stream: TextIO) -> bool:
    """Whether colours are welcome: on a terminal that can show them, unless NO_COLOR is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def told(error: GatewayError) -> str:
    """An error's text for a terminal: each problem of a configuration with its source line."""
    from gateway.config.diagnostics.problem import ConfigError

    if not isinstance(error, ConfigError):
        return clean(error)
    from gateway.config.diagnostics.render import report

    return report(error.problems, error.file, colours=has_colours(sys.stderr))


def fail(message: str, code: int = 1) -> typer.Exit:
    """Says what is wrong on standard error; to be raised."""
    print(clean(message), file=sys.stderr)
    return typer.Exit(code)


def main() -> None:
    """The program `gateway`: exit 0 done, 1 the thing asked about is wrong, 2 bad usage."""
    try:
        app()
    except GatewayError as error:
        print(told(error), file=sys.stderr)
        sys.exit(2 if isinstance(error, BadUsage) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
