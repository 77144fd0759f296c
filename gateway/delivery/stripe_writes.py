"""Writes to Stripe for a delivery, with what its account allows; paced together with `fetch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from gateway.core.errors import StripeRefused
from gateway.core.model import Account, Claim
from gateway.delivery.fetch import on_behalf_of, other_mode
from gateway.plugin import StripeWriter
from gateway.stripe.connections import StripeApis
from gateway.stripe.methods import method_named


class StripeWriters(Protocol):
    """What writes to Stripe, or stands in for it in development."""

    def of(self, claim: Claim, envelope: Mapping[str, Any], account: Account) -> StripeWriter | None:
        """What an action writes with for a claim's delivery; None where nothing is written."""


class NoWrites:
    """Nothing is written."""

    def of(self, claim: Claim, envelope: Mapping[str, Any], account: Account) -> StripeWriter | None:
        return None


class StripeWrites:
    """Writes with the clients that `fetch` asks with."""

    def __init__(self, apis: StripeApis) -> None:
        self._apis = apis

    def of(self, claim: Claim, envelope: Mapping[str, Any], account: Account) -> StripeWriter | None:
        return _DeliveryWriter(self._apis, claim, envelope, account)


class _DeliveryWriter(NamedTuple):
    apis: StripeApis
    claim: Claim
    envelope: Mapping[str, Any]
    account: Account

    async def call(self, method: str, ids: Sequence[str], params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises StripeApiError, as `fetch` does."""
        path, verb = place_of_call(self.account, method, ids)
        if self.claim.event.is_test:
            raise StripeRefused("this is a test event, of which Stripe knows nothing: nothing was written")
        async with self.apis.of(self.account) as api:
            if (told := other_mode(self.account, self.envelope, api.is_live)) is not None:
                raise StripeRefused(f"{told}: nothing was written")
            asking = on_behalf_of(self.envelope, self.account)
            return await api.write(verb, path, params, self.claim.delivery.id, asking)


def place_of_call(account: Account, name: str, ids: Sequence[str]) -> tuple[str, str]:
    """The path and the verb of a method that an account allows. Raises StripeRefused."""
    method = method_named(name)
    if method is None:
        raise StripeRefused(f"Stripe's API has no method {name[:80]} that writes")
    if name not in account.may:
        raise StripeRefused(f"accounts.{account.name}.may does not allow {name}")
    if len(ids) != len(method.ids):
        wanted = " and ".join(f"the id of the {kind}" for kind in method.ids) or "no id"
        raise StripeRefused(f"{name} takes {wanted}, and not {len(ids)} of them")
    if any(not given.strip() or given in (".", "..") for given in ids):
        raise StripeRefused(f"{name}: an id is empty, or is none")
    return method.path_for(ids), method.verb
