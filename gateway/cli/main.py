"""The command line's root: global options, and how errors leave the program."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from gateway import __version__
from gateway.cli.commands import COMMANDS, EVERY_MODULE
from gateway.cli.output import told
from gateway.core.errors import GatewayError, StoreMissing, UnknownName, UsageError

if TYPE_CHECKING:
    from gateway.config.load import Config
    from gateway.config.partial import StoreAddress
    from gateway.store.encryption.keyring import Keyring
    from gateway.store.protocol import Store

T = TypeVar("T")
UNSET = ("unset-variable", "secret-file")


class LazyCommands(TyperGroup):
    """The commands of `gateway.cli.commands`, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        self._load(EVERY_MODULE)
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            self._load(COMMANDS.get(cmd_name, EVERY_MODULE))  # all of them, to name the one that may be meant
        return super().get_command(ctx, cmd_name)

    def _load(self, modules: Sequence[str]) -> None:
        for module in modules:
            importlib.import_module(f"gateway.cli.commands.{module}")
        self.commands.update(typer.main.get_group(app).commands)


app = typer.Typer(
    cls=LazyCommands, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None
)


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

        return DevEnvironment(os.environ, options.config)
    return os.environ


def load_config(*, checks_fields: bool = False, api_version: str | None = None) -> Config:
    """The configuration that the options name. Raises ConfigError. For the rest see `gateway.config.load.load`."""
    from gateway.config.load import load

    config = load(options.config, environment(), checks_fields=checks_fields, api_version=api_version)
    if options.dev:
        from gateway.cli.dev.environment import overlay

        return overlay(config)
    return config


def store_address() -> StoreAddress:
    """Where the inbox is that the configuration names."""
    from gateway.cli.dev.environment import STORE_URL
    from gateway.config.partial import load_store_address

    address = load_store_address(options.config, environment())
    return replace(address, url=STORE_URL) if options.dev else address


def named_store() -> Store:
    """The inbox that the configuration names, not opened, and with nothing that opens what is sealed in it."""
    from gateway.store import open_store

    address = store_address()
    return open_store(address.url, address.folder)


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
    from gateway.store.encoding.store import with_codec

    keyring = named_keyring()
    store = named_store()
    await store.attach()
    try:
        return await with_codec(store, keyring, compresses=store_address().compresses, strict=False)
    except BaseException:
        await store.close()
        raise


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a command's coroutine."""
    import asyncio

    return asyncio.run(main())


def with_store(work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """Runs `work` on the store and closes it."""

    async def main() -> T:
        store = await attach_store()
        try:
            return await work(store)
        finally:
            await store.close()

    return run(main)


def _dev_hint(error: GatewayError) -> str | None:
    """The way out of an error for who tries the gateway out and did not say --dev."""
    from gateway.app.control_socket import NobodyAnswersError
    from gateway.config.diagnostics.problem import ConfigError

    if options.dev:
        return None
    if isinstance(error, ConfigError) and any(problem.code in UNSET for problem in error.problems):
        return "to try it without them: gateway --dev ..., which gives harmless values to what is not set"
    data = options.config.parent / "data" / "dev"
    left = data / ("gateway.db" if isinstance(error, StoreMissing) else "gateway.sock")
    if isinstance(error, (StoreMissing, NobodyAnswersError)) and left.exists():
        return f"that of `gateway dev` is in {data}: gateway --dev ... asks it"
    return None


def main() -> None:
    """The program `gateway`: exit 0 done, 1 the thing asked about is wrong, 2 bad usage."""
    try:
        app()
    except GatewayError as error:
        print(told(error), file=sys.stderr)
        if (hint := _dev_hint(error)) is not None:
            print(hint, file=sys.stderr)
        sys.exit(2 if isinstance(error, (BadUsage, UnknownName)) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
