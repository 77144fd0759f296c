"""Whether Stripe knows an account's key, in the mode that is meant, and sends what the routes want."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from gateway.cli.doctor.stripe_endpoints import endpoint_findings
from gateway.config.load import Config
from gateway.core.errors import StripeApiError, StripeKeyRefused, StripeRefused
from gateway.core.model import Account
from gateway.plugin import Finding

if TYPE_CHECKING:
    from gateway.stripe.api import StripeApi  # slow: the library behind it


async def account_findings(config: Config, account: Account, seconds: float) -> AsyncIterator[Finding]:
    """Asks Stripe, where there is a key to ask with."""
    if not account.api_key:
        fix = f"set accounts.{account.name}.api_key to a restricted key that may read webhook endpoints"
        yield Finding.note("has no api_key, so Stripe is not asked", fix)
        return
    import stripe  # slow

    from gateway.stripe.api import StripeApi

    api = StripeApi(account, api_base=config.settings.stripe.api_base, timeout_seconds=seconds)
    try:
        if api.is_live is not None:
            yield mode_finding(account, is_live=api.is_live)
        if api.is_organisation:
            async for finding in _organisation_findings(api, account):
                yield finding
            return
        try:
            info = await api.account_info()
            yield Finding.good(f"its key is good: {info.get('id')}{_name(info)}")
        except StripeKeyRefused as error:
            yield Finding.bad(str(error), f"put a present key into accounts.{account.name}.api_key")
            return
        except StripeRefused as error:  # a restricted key may do without
            yield Finding.note(f"its key is taken, but may not read the account: {error}")
        endpoints = [endpoint async for endpoint in api.webhook_endpoints()]
        patterns = wanted_patterns(config, account)
        versions = (stripe.api_version, account.api_version)
        is_shared = len(config.accounts) <= config.settings.server.shared_path_accounts
        for finding in endpoint_findings(endpoints, account.name, patterns, *versions, is_path_shared=is_shared):
            yield finding
    except StripeRefused as error:
        yield Finding.note(f"its key may not read webhook endpoints: {error}", "give it Webhook Endpoints: Read")
    except StripeApiError as error:
        yield Finding.bad(str(error), "look at the network, at stripe.api_base, and at Stripe's status page")
    finally:
        await api.close()


async def _organisation_findings(api: StripeApi, account: Account) -> AsyncIterator[Finding]:
    """What an organisation's key can be asked about: the accounts that gateway.yaml names. Raises StripeApiError."""
    from gateway.stripe.api import Asking

    if not account.connected_vars:
        fix = f"name the organisation's accounts in accounts.{account.name}.connected_accounts to have it tried on them"
        yield Finding.note(
            "its api_key is an organisation's: Stripe is not asked, since each request names an account", fix
        )
    for connected in account.connected_vars:
        try:
            info = await api.account_info(Asking(context=connected))
            yield Finding.good(f"its key is good for {info.get('id')}{_name(info)}")
        except StripeKeyRefused as error:
            yield Finding.bad(str(error), f"put a present key into accounts.{account.name}.api_key")
            return
        except StripeRefused as error:
            yield Finding.bad(f"its key is not taken for {connected}: {error}", "is it an account of the organisation?")
    yield Finding.note(
        "an organisation's event destinations are not looked at",
        "compare their events with the routes in its Dashboard",
    )


def mode_finding(account: Account, *, is_live: bool) -> Finding:
    """Whether its key's mode and `livemode` agree."""
    mode = "live" if is_live else "test"
    if account.livemode is not None and account.livemode is not is_live:
        text = f"its api_key is of {mode} mode, but livemode: {str(account.livemode).lower()} takes only the other mode"
        return Finding.bad(text, "give the key of the mode that is meant, or change livemode")
    return Finding.good(f"its api_key is of {mode} mode, as livemode allows")


def wanted_patterns(config: Config, account: Account) -> list[str]:
    """The event patterns of the routes that take this account's events."""
    return [
        pattern
        for route in config.routes
        if route.accounts is None or account.name in route.accounts
        for pattern in route.events
    ]


def _name(info: object) -> str:
    profile = info.get("business_profile") if isinstance(info, dict) else None
    name = profile.get("name") if isinstance(profile, dict) else None
    return f" ({name})" if name else ""
