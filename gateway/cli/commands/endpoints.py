"""gateway endpoints: the webhook endpoints at Stripe against what the routes want: list, diff, sync."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.main import BadUsage, app, load_config, options, run
from gateway.cli.output import clean, fail, print_json, print_table
from gateway.core.errors import StripeApiError, StripeUnavailable

if TYPE_CHECKING:
    from gateway.config.load import Config
    from gateway.core.model import Account
    from gateway.stripe.api import StripeApi
    from gateway.stripe.endpoints import Endpoint, Step, WantedEndpoint

endpoints = typer.Typer(no_args_is_help=True, help="Webhook endpoints at Stripe: list, diff, sync.")
app.add_typer(endpoints, name="endpoints")

One = Annotated[str | None, typer.Option(help="Default: the one account with an api_key.")]
PublicUrl = Annotated[str | None, typer.Option(metavar="URL", help="Default: server.public_url of the config.")]
Json = Annotated[bool, typer.Option("--json")]


@dataclass(frozen=True, slots=True)
class Compared:
    """An account's endpoints as they are, and what they should be."""

    wanted: list[WantedEndpoint]
    there: list[Endpoint]
    steps: list[Step]
    thin: list[str]


@endpoints.command("list")
def list_(account: One = None, as_json: Json = False) -> None:
    """List the endpoints that the account has at Stripe, in the mode of its key."""
    config = load_config()
    owner = _account(config, account)

    async def work() -> list[Endpoint]:
        async with _api(config, owner) as api:
            return await _there(api)

    rows = [_row(endpoint) for endpoint in run(work)]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["id", "url", "status", "mode", "for", "api version", "events"],
        [
            [
                e["id"], e["url"], e["status"], "live" if e["livemode"] else "test",
                "connected accounts" if e["connect"] else "own events", e["api_version"],
                _some(e["enabled_events"]),
            ]
            for e in rows
        ],
    )  # fmt: skip


@endpoints.command()
def diff(account: One = None, url: PublicUrl = None, as_json: Json = False) -> None:
    """Compare them with what the routes want. Ends with 1 where they differ."""
    config = load_config()
    owner = _account(config, account)
    compared = run(lambda: _compare(config, owner, url))
    if as_json:
        print_json([_step_row(step) for step in compared.steps])
    else:
        _show(compared)
    if compared.steps:
        raise typer.Exit(1)


@endpoints.command()
def sync(
    account: One = None,
    url: PublicUrl = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="Where a new endpoint's signing secret is written, to a new file.")
    ] = None,
    connect_secret_file: Annotated[
        Path | None, typer.Option(help="The same, for the endpoint of connected accounts.")
    ] = None,
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Print new signing secrets instead.")] = False,
    switch: Annotated[
        bool, typer.Option("--switch", help="Enable the endpoint of the new API version and disable the old one.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Create and update endpoints until they are what the routes want. Shows what it would do, and asks."""
    from gateway.stripe.endpoints import ActionKind

    config = load_config()
    owner = _account(config, account)
    files = {False: secret_file, True: connect_secret_file}

    async def work() -> int:
        compared = await _compare(config, owner, url)
        _show(compared)
        steps = [step for step in compared.steps if step.deed is not ActionKind.SWITCH or switch]
        if len(steps) < len(compared.steps):
            print("The switch of versions is left until you give --switch.")
        if not steps:
            return 0
        for step in steps:
            if step.deed is ActionKind.CREATE and not show_secrets:
                _check_file(files[step.wanted.is_connect], step.wanted)
        if not yes:
            typer.confirm(f"Do this at Stripe, in {_mode(config, owner)} mode?", abort=True, err=True)
        async with _api(config, owner) as api:
            for step in steps:
                await _do(api, owner, step, None if show_secrets else files[step.wanted.is_connect])
        return len(steps)

    run(work)


async def _compare(config: Config, account: Account, url: str | None) -> Compared:
    """Asks Stripe. Raises BadUsage, Exit, StripeApiError."""
    from gateway.stripe.endpoints import lint, plan, wanted_endpoints
    from gateway.stripe.keys import is_live_key

    public = url or config.settings.server.public_url
    if public is None:
        raise BadUsage("say where Stripe reaches this gateway: server.public_url, or --url https://hooks.example.com")
    if "://" not in public:
        raise BadUsage(f"--url {public!r}: write it as https://hooks.example.com")
    wrong = lint(account, public, is_live_key(account.api_key) is True)
    if wrong:
        raise fail("\n".join(wrong))
    wanted, thin = wanted_endpoints(account, config.routes, public)
    async with _api(config, account) as api:
        there = await _there(api)
    return Compared(wanted, there, plan(wanted, there), thin)


async def _there(api: StripeApi) -> list[Endpoint]:
    """Every endpoint. Raises Exit where they are of another mode than the key seems to be."""
    from gateway.stripe.endpoints import endpoint_of

    endpoints = [endpoint_of(endpoint) async for endpoint in api.webhook_endpoints()]
    if any(endpoint.is_live != api.is_live for endpoint in endpoints):
        raise fail("Stripe shows endpoints of the other mode than the api_key is of: nothing is done")
    return endpoints


async def _do(api: StripeApi, account: Account, step: Step, file: Path | None) -> None:
    """One step. Raises StripeApiError, Exit."""
    from gateway.stripe.endpoints import ActionKind

    if step.deed is ActionKind.CREATE:
        await _create(api, account, step, file)
        return
    assert step.endpoint is not None
    await api.call("post", f"/v1/webhook_endpoints/{step.endpoint.id}", step.changes)
    print(clean(f"{step.endpoint.id}: {'enabled' if step.deed is ActionKind.SWITCH else 'updated'}"))
    if step.deed is ActionKind.SWITCH:
        for old in step.instead_of:
            await api.call("post", f"/v1/webhook_endpoints/{old.id}", {"disabled": "true"})
            print(clean(f"{old.id}: disabled"))


async def _create(api: StripeApi, account: Account, step: Step, file: Path | None) -> None:
    """Makes an endpoint and puts its secret where the user said. Where that fails, the endpoint is taken away again:
    Stripe tells a secret only once.
    """
    from gateway.stripe.endpoints import OURS

    wanted = step.wanted
    params: dict[str, Any] = {
        "url": wanted.url,
        "enabled_events": list(wanted.events),
        "connect": "true" if wanted.is_connect else "false",
        "description": f"Fulfilment gateway, account {account.name}",
        "metadata": {OURS: "true" if wanted.is_connect else "false"},
    }
    if wanted.api_version is not None:
        params["api_version"] = wanted.api_version
    kept = _reserve(file) if file is not None else None
    try:
        created = await api.call("post", "/v1/webhook_endpoints", params)
    except (StripeApiError, asyncio.CancelledError) as error:
        _discard(kept, file)
        if isinstance(error, StripeUnavailable):
            raise fail(
                f"{error}\nwhether the endpoint was created is not known: see `gateway endpoints list`, and delete one "
                "whose secret nobody has"
            ) from None
        raise
    print(clean(f"{created['id']}: created, {wanted.name}"))
    if kept is None:
        print(f"its signing secret: {clean(created['secret'])}")
    else:
        try:
            with os.fdopen(kept, "w") as opened:
                opened.write(f"{created['secret']}\n")
                opened.flush()
                os.fsync(opened.fileno())
        except OSError as error:
            await api.call("delete", f"/v1/webhook_endpoints/{created['id']}")
            raise fail(f"cannot write {file}: {error.strerror}; the new endpoint was taken away again") from None
        print(clean(f"its signing secret is in {file}"))
    place = '"the secret above"' if file is None else f'"${{file:{file}}}"'
    print(clean(f"add {place} to accounts.{account.name}.signing_secrets; until then its events are answered 401"))
    if step.instead_of:
        await api.call("post", f"/v1/webhook_endpoints/{created['id']}", {"disabled": "true"})
        print("it is disabled: when secret and templates are ready, run this again with --switch")


def _check_file(file: Path | None, wanted: WantedEndpoint) -> None:
    """Raises Exit where a secret would have nowhere to go."""
    option = "--connect-secret-file" if wanted.is_connect else "--secret-file"
    if file is None:
        raise fail(
            f"a new endpoint ({wanted.name}) has a signing secret, which Stripe tells only once: say where to, with "
            f"{option} FILE or --show-secrets",
            2,
        )
    if file.exists():
        raise fail(f"{option} {file}: it exists already, and may hold a secret in use: name a new file", 2)


def _reserve(file: Path) -> int:
    """A new file that nobody else may read. Raises Exit."""
    try:
        return os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise fail(f"cannot write {file}: {error.strerror}; nothing was created") from None


def _discard(kept: int | None, file: Path | None) -> None:
    """Takes a reserved file away again."""
    if kept is not None and file is not None:
        os.close(kept)
        file.unlink()


def _account(config: Config, name: str | None) -> Account:
    if options.dev:
        raise BadUsage("endpoints: --dev has no Stripe to ask")
    if name is None:
        keyed = [account.name for account in config.accounts.values() if account.api_key]
        if len(keyed) > 1:
            raise BadUsage(f"say --account: {', '.join(keyed)}")
        name = keyed[0] if keyed else next(iter(config.accounts))
    if name not in config.accounts:
        raise BadUsage(f"there is no account {name}; known: {', '.join(config.accounts)}")
    owner = config.accounts[name]
    if not owner.api_key:
        raise fail(f"account {name} has no api_key to ask Stripe with: set accounts.{name}.api_key")
    from gateway.stripe.keys import is_organisation_key

    if is_organisation_key(owner.api_key):
        raise fail(
            f"accounts.{name}.api_key is an organisation's, which has event destinations in its Dashboard and no "
            "webhook endpoints: see docs/stripe.md, Organisations"
        )
    return owner


@asynccontextmanager
async def _api(config: Config, account: Account) -> AsyncIterator[StripeApi]:
    from gateway.stripe.connections import StripeApis

    apis = StripeApis()
    apis.take([account], config.settings.stripe.api_base, config.settings.stripe.timeout)
    try:
        async with apis.of(account) as api:
            yield api
    finally:
        await apis.close()


def _mode(config: Config, account: Account) -> str:
    from gateway.stripe.keys import is_live_key

    return "live" if is_live_key(account.api_key) else "test"


def _show(compared: Compared) -> None:
    for step in compared.steps:
        name = step.endpoint.id if step.endpoint is not None else "a new endpoint"
        print(clean(f"{step.deed.value} {name}: {step.wanted.url}, {step.wanted.name}"))
        for reason in step.reasons:
            print(clean(f"    {reason}"))
        if step.endpoint is None:
            version = step.wanted.api_version or "the account's default version"
            print(clean(f"    of {version}, with {_some(step.wanted.events, 8)}"))
    if not compared.steps:
        print("nothing to do: Stripe's endpoints are what the routes want")
    if compared.thin:
        print(
            clean(f"not looked at: thin events ({', '.join(compared.thin)}) come from an event destination at Stripe")
        )


def _some(events: list[str] | tuple[str, ...], most: int = 3) -> str:
    more = len(events) - most
    return ", ".join(events[:most]) + (f" and {more} more" if more > 0 else "")


def _row(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "status": "enabled" if endpoint.is_enabled else "disabled",
        "livemode": endpoint.is_live,
        "connect": endpoint.is_connect,
        "api_version": endpoint.api_version,
        "enabled_events": list(endpoint.events),
    }


def _step_row(step: Step) -> dict[str, Any]:
    return {
        "do": step.deed.value,
        "endpoint": step.endpoint.id if step.endpoint is not None else None,
        "url": step.wanted.url,
        "connect": step.wanted.is_connect,
        "api_version": step.wanted.api_version,
        "enabled_events": list(step.wanted.events),
        "reasons": list(step.reasons),
    }
