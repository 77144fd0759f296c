"""gateway listen: brings a test account's events to a gateway on this machine, by asking Stripe for them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.commands.send import local_url, post
from gateway.cli.main import BadUsage, app, load_config, options, run
from gateway.cli.options import duration
from gateway.cli.output import clean, fail
from gateway.core.errors import StripeUnavailable

if TYPE_CHECKING:
    from gateway.core.model import Event
    from gateway.intake.backfill.listing import Listing
    from gateway.stripe.api import StripeApi

LOOK_SECONDS = 1.5  # between two looks: far below what Stripe allows a test key
LOOK_BACK_SECONDS = 30  # an event may be listed some seconds after the time at which it was created
WAIT_SECONDS = 5.0  # where Stripe or the gateway does not answer
REMEMBERED = 10_000  # ids of events that were brought


@app.command()
def listen(
    api_key: Annotated[
        str, typer.Option(envvar="STRIPE_API_KEY", help="A test key, rk_test_... or sk_test_..., that may read events.")
    ] = "",
    account: Annotated[str | None, typer.Option(help="Whose secret signs; default: the first account.")] = None,
    connected_account: Annotated[str | None, typer.Option(metavar="ACCT", help="Its events instead.")] = None,
    type: Annotated[list[str] | None, typer.Option(help="A type or glob, once or more. Default: every one.")] = None,
    since: Annotated[str, typer.Option(metavar="DURATION", help="Events of so long ago, too.")] = "0s",
    url: Annotated[str | None, typer.Option(help="Default: the server.listen of the config.")] = None,
) -> None:
    """Bring a test account's real events to the gateway here: no endpoint, no tunnel, no other program.

    Asks Stripe's list of events again and again, and posts what is new, signed, as Stripe would. `gateway --dev listen`
    beside `gateway dev` needs nothing but the key.
    """
    from gateway.intake.backfill.listing import Listing
    from gateway.stripe.keys import is_live_key

    config = load_config()
    name = account or next(iter(config.accounts))
    if name not in config.accounts:
        raise fail(f"there is no account {name}; known: {', '.join(config.accounts)}", 2)
    key = api_key or ("" if options.dev else config.accounts[name].api_key)  # --dev would invent one
    if not key.startswith(("rk_", "sk_")):
        raise BadUsage("say --api-key rk_test_..., or set STRIPE_API_KEY: of a test account, and it may read events")
    if is_live_key(key):
        raise BadUsage("this is a live key: listen is for test accounts; live events come to an endpoint")
    begin = int(time.time() - duration(since, "--since"))
    owner = replace(config.accounts[name], api_key=key)
    target, secret = url or local_url(config, name), owner.signing_secrets[0]

    async def work() -> None:
        from gateway.stripe.api import StripeApi

        api = StripeApi(owner, api_base=config.settings.stripe.api_base, timeout_seconds=config.settings.stripe.timeout)
        try:
            print(clean(f"Stripe's events of {name} go to {target}; Ctrl-C ends it"), flush=True)
            async for event in NewEvents(api, Listing(owner, connected_account), tuple(type or ()), begin):
                await _bring(event, target, secret)
        finally:
            await api.close()

    run(work)


async def _bring(event: Event, target: str, secret: str) -> None:
    """Posts an event until a gateway is there to take it, and shows what it says."""
    while True:
        try:
            status, answer = await post(target, event.body, secret)
        except typer.Exit:  # it is told
            await asyncio.sleep(WAIT_SECONDS)
        else:
            print(clean(f"{event.id} {event.type} -> {status} {answer}"), flush=True)
            return


@dataclass
class NewEvents:
    """The events of a listing as they come, the oldest first, each once, without an end. Raises StripeApiError where
    asking again does not help.
    """

    api: StripeApi
    listing: Listing
    types: Sequence[str]  # types or globs; none: all
    begin: int  # Unix time
    _seen: dict[str, None] = field(default_factory=dict)

    async def __aiter__(self) -> AsyncIterator[Event]:
        from gateway.core.routing import names
        from gateway.intake.backfill.listing import oldest_first

        while True:
            until = int(time.time()) + 1
            windows = oldest_first(self.api, self.listing, self.begin, until, still_ours=lambda: None)
            try:
                async with aclosing(windows):
                    async for window in windows:
                        for event in window.events:
                            if event.id in self._seen:
                                continue
                            self._seen[event.id] = None
                            if not self.types or any(names(pattern, event.type) for pattern in self.types):
                                yield event
            except StripeUnavailable as error:
                print(clean(f"{error}; asked again in {WAIT_SECONDS:g} s"), file=sys.stderr, flush=True)
                await asyncio.sleep(WAIT_SECONDS)
                continue
            for old in list(self._seen)[: max(0, len(self._seen) - REMEMBERED)]:
                del self._seen[old]
            self.begin = max(self.begin, until - LOOK_BACK_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)
