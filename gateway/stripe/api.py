"""Stripe's API: the only file that calls it. The official asynchronous client over aiohttp, paced; plain JSON comes
out.

Expanding: https://docs.stripe.com/api/expanding_objects; lists: https://docs.stripe.com/api/pagination; on whose
behalf: https://docs.stripe.com/connect/authentication and https://docs.stripe.com/context; errors and what to do about
them: https://docs.stripe.com/error-low-level; limits: https://docs.stripe.com/rate-limits.
"""

from __future__ import annotations

import asyncio
import copy
import re
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import aiohttp
import msgspec
import stripe
from stripe._api_resource import APIResource
from stripe._object_classes import OBJECT_CLASSES
from stripe._request_options import RequestOptions

from gateway import __version__
from gateway.core.errors import StripeApiError, StripeKeyRefused, StripeMissing, StripeRefused, StripeUnavailable
from gateway.core.fetch_answer import cut_lists
from gateway.core.model import Account
from gateway.plugin.quoting import quoted
from gateway.stripe.keys import is_live_key, is_organisation_key
from gateway.stripe.pacing import Clock, Pace, PacedClient, Sleep, after_seconds

Page = Sequence[bytes]
"""A page of a list; its items are as Stripe wrote them."""

LIVE_PER_SECOND = 100.0  # https://docs.stripe.com/rate-limits
TEST_PER_SECOND = 25.0
REPEATS = 2  # of one request, at once, where Stripe or the network says that it may help
PAGE = 100  # the most that Stripe gives at a time
MOST_ITEMS = 10_000  # in all lists of one object

stripe.enable_telemetry = False  # it would write a file below the home folder, and send timings
stripe.set_app_info("stripe-fulfilment-gateway", version=__version__)

_KEY = re.compile(r"\b(?:sk|rk|pk|whsec)_[A-Za-z0-9_*]+")
_PREVIEW = "upcoming_in_"  # https://docs.stripe.com/api/invoices/create_preview
_ENTITLEMENTS = re.compile(r"/v1/customers?/([^/?]+)/entitlements")
_OPTIONS = frozenset(RequestOptions.__annotations__) | {"base"}  # the library takes them out of parameters
_SCOPE = re.compile(r"(?:Enabling|Having the) (.+?) permissions?\b")


class _Page(msgspec.Struct):
    """A list of either API; its items stay as Stripe wrote them."""

    data: list[msgspec.Raw]
    has_more: bool = False
    next_page_url: str | None = None


_page = msgspec.json.Decoder(_Page)


@dataclass(frozen=True, slots=True)
class Asking:
    """On whose behalf something is asked, and in which version of the API."""

    connected_account: str | None = None  # the header Stripe-Account
    context: str | None = None  # the header Stripe-Context, for what a thin event names
    api_version: str | None = None  # None: the library's


class StripeApi:
    """The API as one account's key sees it. Every method raises StripeApiError: StripeUnavailable where trying again
    may help, StripeMissing where there is no such object, StripeRefused otherwise. No message holds a key.
    """

    def __init__(
        self,
        account: Account,
        *,
        api_base: str,
        timeout_seconds: float,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._account = account.name
        self.is_live = is_live_key(account.api_key)
        self.is_organisation = is_organisation_key(account.api_key)
        default = LIVE_PER_SECOND if self.is_live else TEST_PER_SECOND
        self._api_base = api_base
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_seconds), trust_env=True)
        self._client = stripe.StripeClient(
            account.api_key,
            base_addresses={"api": api_base},
            max_network_retries=REPEATS,
            http_client=PacedClient(self._session, Pace(account.api_per_second or default, clock, sleep), sleep),
        )

    @property
    def is_closed(self) -> bool:
        """Whether its connections are."""
        return self._session.closed

    async def close(self) -> None:
        """Closes its connections."""
        await self._session.close()

    # -- what is asked ----------------------------------------------------------------------------------------

    async def whole(self, path: str, *, expand: Sequence[str] = (), asking: Asking = Asking()) -> dict[str, Any]:
        """The object at a path, with fields expanded, and every list in it brought to its end."""
        word = "include" if path.startswith("/v2/") else "expand"
        value = await self.call("get", path, {word: list(expand)} if expand else {}, asking)
        await self._complete(value, "", expand, asking, MOST_ITEMS)
        return value

    async def with_whole_lists(self, value: Mapping[str, Any], *, asking: Asking = Asking()) -> dict[str, Any]:
        """A copy of an object that came another way, with every list of which it has only the beginning as the list is
        now, by the list's own `url`.
        """
        whole = copy.deepcopy(dict(value))
        for cut in cut_lists(whole):
            if isinstance(cut.get("url"), str):
                cut["data"] = []  # whatever has changed since: it is brought from its beginning
        await self._complete(whole, "", (), asking, MOST_ITEMS)
        return whole

    async def list(
        self, path: str, params: Mapping[str, Any] | None = None, *, asking: Asking = Asking()
    ) -> AsyncIterator[dict[str, Any]]:
        """Every item of a list, page by page, in Stripe's order: the newest first."""
        async for page in self.pages(path, params or {}, asking):
            for item in page:
                yield msgspec.json.decode(item)

    async def account_info(self, asking: Asking = Asking()) -> dict[str, Any]:
        """The account that the key belongs to, or that is asked for. https://docs.stripe.com/api/accounts/retrieve"""
        return await self.call("get", "/v1/account", asking=asking)

    def connected_accounts(self) -> AsyncIterator[dict[str, Any]]:
        """The accounts connected to it. https://docs.stripe.com/api/accounts/list"""
        return self.list("/v1/accounts")

    def webhook_endpoints(self) -> AsyncIterator[dict[str, Any]]:
        """Its webhook endpoints. https://docs.stripe.com/api/webhook_endpoints/list"""
        return self.list("/v1/webhook_endpoints")

    def events(
        self,
        *,
        since: int,
        until: int,
        types: Sequence[str] = (),
        undelivered: bool = False,
        asking: Asking = Asking(),
    ) -> AsyncGenerator[Page, None]:
        """Snapshot events, as Stripe wrote them, page by page, the newest first: created at or after `since` and before
        `until` (Unix times), of at most 20 types; `undelivered`: those that some endpoint has not taken. Stripe keeps
        events for 30 days. https://docs.stripe.com/api/events/list
        """
        params: dict[str, Any] = {"created": {"gte": since, "lt": until}}
        if types:
            params["types"] = list(types)
        if undelivered:
            params["delivery_success"] = "false"
        return self.pages("/v1/events", params, asking)

    def thin_events(
        self, *, since: int, until: int, types: Sequence[str] = (), asking: Asking = Asking()
    ) -> AsyncGenerator[Page, None]:
        """Thin events in the same way. Stripe does not say whether they were delivered.
        https://docs.stripe.com/api/v2/core/events/list
        """
        created = {"gte": _as_text(since), "lt": _as_text(until)}
        params: dict[str, Any] = {"created": created, **({"types": list(types)} if types else {})}
        return self.pages("/v2/core/events", params, asking)

    async def pages(
        self, path: str, params: Mapping[str, Any], asking: Asking = Asking()
    ) -> AsyncGenerator[Page, None]:
        """A list, page by page, its items as Stripe wrote them."""
        first, more = path, {"limit": PAGE, **params}
        while True:
            answer = await self._ask("get", path, more, asking)
            try:
                page = _page.decode(answer)
            except (ValueError, msgspec.DecodeError):
                raise StripeRefused(f"Stripe answered no list for {first}") from None
            items = [bytes(item) for item in page.data]
            yield items
            if page.next_page_url:  # lists of API v2
                path, more = page.next_page_url, {}
            elif page.has_more and items:
                more["starting_after"] = _id_of(msgspec.json.decode(items[-1]), first)
            else:
                return

    async def call(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, asking: Asking = Asking()
    ) -> dict[str, Any]:
        """One request, repeated at once where Stripe's rules say so; a POST with the same Idempotency-Key each time."""
        try:
            value = msgspec.json.decode(await self._ask(method, path, params or {}, asking))  # as events are decoded
        except (ValueError, msgspec.DecodeError):
            value = None
        if not isinstance(value, dict):
            raise StripeRefused(f"Stripe answered no object for {path}")
        return value

    async def write(
        self, method: str, path: str, params: Mapping[str, Any], idempotency_key: str, asking: Asking = Asking()
    ) -> dict[str, Any]:
        """One POST or DELETE, which Stripe does once for a key: it remembers keys for 24 hours and answers as the first
        time. https://docs.stripe.com/api/idempotent_requests
        """
        if options := sorted(_OPTIONS & params.keys()):
            raise StripeRefused(f"{options[0]} is no parameter of {path}")
        return await self.call(method, path, {**params, "idempotency_key": idempotency_key}, asking)

    async def _ask(self, method: str, path: str, params: Mapping[str, Any], asking: Asking) -> str | bytes:
        """The answer's JSON as it came; the library's own objects would turn decimals."""
        connected, context = asking.connected_account, asking.context
        if self.is_organisation:
            connected, context = None, context or connected
            if context is None:
                raise StripeRefused(
                    f"accounts.{self._account}.api_key is an organisation's: Stripe has to be told which of its "
                    f"accounts is meant, and nothing says so here; name them in connected_accounts"
                )
        try:
            answer = await self._client.raw_request_async(
                method,
                path,
                **params,
                stripe_account=connected,
                stripe_context=context,
                stripe_version=asking.api_version,
            )
        except stripe.StripeError as error:
            raise self._explained(error, method, path) from None
        except ValueError:
            raise StripeRefused(f"Stripe's API has no path {quoted(path, 200)!r}") from None
        body: str | bytes = answer.body
        return body

    # -- lists inside an object -------------------------------------------------------------------------------

    async def _complete(self, part: Any, at: str, expand: Sequence[str], asking: Asking, most: int) -> int:
        """Brings every list in a part to its end; `at` is its place as `expand` names it. How many more are allowed."""
        if isinstance(part, dict) and part.get("object") == "list" and isinstance(part.get("data"), list):
            items = part["data"]
            if part.get("has_more") and isinstance(part.get("url"), str):
                path = _list_path(part["url"])
                inner = [field.removeprefix(f"{at}.") for field in expand if field.startswith(f"{at}.data.")]
                params: dict[str, Any] = {"expand": inner} if inner else {}
                if items:
                    params["starting_after"] = _id_of(items[-1], path)
                try:
                    async for item in self.list(path, params, asking=asking):
                        items.append(item)
                        if len(items) > most:
                            raise StripeRefused(
                                f"{at} has more than {MOST_ITEMS} items: too many to fetch for one event"
                            )
                except StripeMissing as error:
                    raise StripeRefused(f"{at} could not be brought to its end: {error}") from None
                part["has_more"] = False
            most -= len(items)
            for item in items:
                most = await self._complete(item, f"{at}.data", expand, asking, most)
        elif isinstance(part, dict):
            for name, value in part.items():
                most = await self._complete(value, f"{at}.{name}" if at else name, expand, asking, most)
        elif isinstance(part, list):
            for value in part:
                most = await self._complete(value, at, expand, asking, most)
        return most

    # -- errors -----------------------------------------------------------------------------------------------

    def _explained(self, error: stripe.StripeError, method: str, path: str) -> StripeApiError:
        status, said, after = error.http_status, _said(error), after_seconds(error.headers)
        key = f"accounts.{self._account}.api_key"
        request = f" (request {error.request_id})" if error.request_id else ""
        if status is None:
            cause = error.__cause__
            why = type(cause).__name__ if cause is not None else "no connection"
            return StripeUnavailable(f"Stripe does not answer at {self._api_base}: {why}")
        if status == 429:
            return StripeUnavailable(f"Stripe asks for fewer requests{request}: {said or 429}", after)
        if status == 409 or status >= 500 or status < 400:
            return StripeUnavailable(f"Stripe answered {status}{request}{said and ': '}{said}", after)
        if status == 401:
            return StripeKeyRefused(f"Stripe does not accept {key}{request}: {said}")
        if status == 403:
            scope = _SCOPE.search(said)
            if scope:
                return StripeRefused(
                    f"{key} lacks the permission {scope[1]}, which {method.upper()} {path} needs{request}; give it to "
                    "the key at Stripe, then retry"
                )
            return StripeRefused(f"Stripe refuses {method.upper()} {path} to {key}{request}: {said}")
        if status == 404 and error.code in ("resource_missing", "not_found"):
            if "a similar object exists in" in said:
                return StripeRefused(f"{key} is of the other mode{request}: {said}")
            return StripeMissing(f"{said}{request}")
        code = f" {error.code}" if error.code else ""
        return StripeRefused(f"Stripe answered {status}{code} for {path}{request}: {said}")


def has_place(kind: str) -> bool:
    """Whether Stripe has a place for objects of a kind, the value of their field `object`, as the official library
    knows it: a discount has none, nor a kind that the library does not know.
    """
    return _class_of(kind) is not None


def path_of(value: Mapping[str, Any]) -> str | None:
    """Where an object is retrieved, as the official library knows it; None for what has no place of its own: a kind
    without one, and the preview of an invoice, which has no id or one that cannot be asked for.
    """
    kind = _class_of(str(value.get("object")))
    if kind is None or str(value.get("id")).startswith(_PREVIEW):
        return None
    # The library fails on some nulls (findings/stripe-null-map-fails-retrieve.sh), and a path is made of texts.
    named = {name: part for name, part in value.items() if isinstance(part, str)}
    try:
        path: str = kind.construct_from(named, None).instance_url()
    except (stripe.StripeError, NotImplementedError, KeyError, AttributeError):
        return None
    return path


def _class_of(kind: str) -> Any:
    location = OBJECT_CLASSES.get(kind)
    if location is None:
        return None
    known = getattr(import_module(location[0]), location[1])
    return known if issubclass(known, APIResource) and hasattr(known, "instance_url") else None


def _list_path(url: str) -> str:
    """Where a list is asked for: at its `url`. A summary of entitlements names a path that Stripe's API reference does
    not have; what is in it is listed elsewhere: https://docs.stripe.com/api/entitlements/active-entitlement/list
    """
    entitlements = _ENTITLEMENTS.fullmatch(url)
    return f"/v1/entitlements/active_entitlements?customer={entitlements[1]}" if entitlements else url


def _as_text(seconds: int) -> str:
    """A time as API v2 has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _id_of(item: Any, path: str) -> str:
    if isinstance(item, dict) and isinstance(item.get("id"), str):
        item_id: str = item["id"]
        return item_id
    raise StripeRefused(f"the list at {path} goes on, but its items have no id to go on from")


def _said(error: stripe.StripeError) -> str:
    """Stripe's own words, in one line, without any key; empty where the answer was not Stripe's JSON."""
    body = error.json_body
    details = body.get("error") if isinstance(body, Mapping) else None
    message = details.get("message") if isinstance(details, Mapping) else None
    return quoted(_KEY.sub("[key]", str(message or "")), 500)
