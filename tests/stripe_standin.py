"""A Stripe API for tests, written from Stripe's documentation and sharing nothing with the product.

On docs.stripe.com: objects /api; expanding /api/expanding_objects; pages /api/pagination; events /api/events/list and
/api/v2/core/events/list; endpoints /api/webhook_endpoints; errors /api/errors and /error-low-level; keys
/keys/restricted-api-keys.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.stripe_standin_events import EventLists, Request, StripeError, limit_of, values
from tests.stripe_standin_lists import list_objects
from tests.stripe_standin_writes import Writes

TEST_KEY, LIVE_KEY = "sk_test_standin0000000000000000", "sk_live_standin0000000000000000"
ORG_KEY = "sk_org_standin0000000000000000"  # of an organisation: each request names an account
COLLECTIONS = {  # path -> what Stripe calls one of it in "No such ...", and the permission to read it
    "/v1/accounts": ("account", "Accounts"),
    "/v1/billing/meters": ("meter", "Billing Meters"),
    "/v1/charges": ("charge", "Charges and Refunds"),
    "/v1/checkout/sessions": ("checkout.session", "Checkout Sessions"),
    "/v1/customers": ("customer", "Customers"),
    "/v1/disputes": ("dispute", "Disputes"),
    "/v1/invoices": ("invoice", "Invoices"),
    "/v1/payment_intents": ("payment_intent", "PaymentIntents"),
    "/v1/payment_links": ("payment_link", "Payment Links"),
    "/v1/payouts": ("payout", "Payouts"),
    "/v1/prices": ("price", "Prices"),
    "/v1/products": ("product", "Products"),
    "/v1/refunds": ("refund", "Charges and Refunds"),
    "/v1/subscriptions": ("subscription", "Subscriptions"),
    "/v1/transfers": ("transfer", "Transfers"),
}
LEAVE_A_TRACE = ("customer",)  # once deleted: {id, object, deleted: true}; what else is deleted is no longer found
ONLY_EXPANDED = {("checkout.session", "line_items"), ("charge", "refunds"), ("customer", "subscriptions")}
MOST_ENDPOINTS = 16
PUT_IN = 10  # so many items of a list come inside an object


@dataclass(frozen=True)
class Fault:
    """An answer that is not the asked one. `hang` waits until the client goes; `drop` closes the connection."""

    status: int = 500
    message: str = "An unknown error occurred"
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    hang: bool = False
    drop: bool = False
    is_done: bool = False  # what was asked is done, and its answer is lost


class StripeStandin(EventLists):
    """One platform account with connected accounts. Objects live by (account, id); account "" is the platform."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, set[str] | None] = {
            TEST_KEY: None,
            LIVE_KEY: None,
            ORG_KEY: None,
        }  # restricted ones: what they may read
        self.account: dict[str, Any] = {
            "id": "acct_platform",
            "object": "account",
            "country": "DE",
            "email": "a@b.example",
        }
        self.connected = {"acct_1"}
        self.requests: list[Request] = []
        self.faults: deque[Fault] = deque()
        self.gate = asyncio.Event()  # requests wait until it is set
        self.gate.set()
        self.most_at_once = 0  # requests that were under way together
        self.per_second: int | None = None  # more in one second are answered 429
        self.render: Callable[[dict[str, Any], str], dict[str, Any]] = lambda value, version: value  # in a version
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.connect_endpoints: set[str] = set()  # ids of those for connected accounts
        self.url = ""
        self._objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.writes = Writes(self._objects)
        self._lists: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
        self._paths: dict[tuple[str, str], dict[str, Any]] = {}
        self._at_once = 0
        self._hanging: set[asyncio.Future[None]] = set()
        self._answered: deque[float] = deque()
        self._number = itertools.count(1)

    # -- for tests --------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Lets go who hangs."""
        for waiting in self._hanging:
            waiting.cancel()

    def put(self, value: Mapping[str, Any], *, account: str = "", lists: Mapping[str, list[Any]] | None = None) -> None:
        """Makes or replaces an object; `lists` are its long lists, whole."""
        stored = copy.deepcopy(dict(value))
        for name, items in (lists or {}).items():
            self._lists.setdefault((account, stored["id"]), {})[name] = items
            stored.pop(name, None)
        self._objects[account, stored["id"]] = stored

    def put_at(self, path: str, value: dict[str, Any], *, account: str = "") -> None:
        """Makes an object at a path of its own, as those of API v2."""
        self._paths[account, path] = value

    def delete(self, object_id: str, *, account: str = "") -> None:
        """Deletes an object. Some kinds leave `{id, object, deleted: true}`, others nothing."""
        gone = self._objects.pop((account, object_id))
        if gone["object"] in LEAVE_A_TRACE:
            trace = {
                "id": object_id,
                "object": gone["object"],
                "deleted": True,
                "livemode": gone.get("livemode", False),
            }
            self._objects[account, object_id] = trace

    def restricted_key(self, *may_read: str) -> str:
        """A key that may read only objects such as `customer`."""
        key = f"rk_test_{secrets.token_hex(12)}"
        self.keys[key] = set(may_read)
        return key

    def asked(self, path: str) -> list[Request]:
        """The requests for a path."""
        return [one for one in self.requests if one.path == path]

    # -- one request ------------------------------------------------------------------------------------------

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self.gate.wait()
            return await self._answered_to(request)
        finally:
            self._at_once -= 1

    async def _answered_to(self, request: web.BaseRequest) -> web.StreamResponse:
        form = parse_qsl((await request.read()).decode(), keep_blank_values=True)
        query = parse_qsl(request.query_string, keep_blank_values=True)
        asked = Request(request.method, request.path, query, dict(request.headers), form)
        self.requests.append(asked)
        headers = {"Request-Id": f"req_{next(self._number)}"}
        if self.faults:
            fault = self.faults.popleft()
            if fault.is_done:
                self._answer(asked)
            if fault.hang:
                waiting = asyncio.get_running_loop().create_future()
                self._hanging.add(waiting)
                await waiting
            if fault.drop:
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            error = StripeError(fault.status, fault.message, fault.code).error
            body = fault.body if fault.body is not None else json.dumps({"error": error}).encode()
            return web.Response(status=fault.status, body=body, headers={**headers, **fault.headers})
        try:
            self._limit()
            status, answer = 200, self._answer(asked)
            if answer.pop("idempotent-replayed", None):
                headers["Idempotent-Replayed"] = "true"
        except StripeError as refused:
            status, answer = refused.status, {"error": refused.error}
        return web.json_response(answer, status=status, headers=headers)

    def _limit(self) -> None:
        now = time.monotonic()
        while self._answered and self._answered[0] < now - 1:
            self._answered.popleft()
        if self.per_second is not None and len(self._answered) >= self.per_second:
            raise StripeError(429, "Request rate limit exceeded.", "rate_limit")
        self._answered.append(now)

    def _answer(self, asked: Request) -> dict[str, Any]:
        key = asked.headers.get("Authorization", "").removeprefix("Bearer ")
        if key not in self.keys:
            raise StripeError(401, f"Invalid API Key provided: {key[:8]}********{key[-4:]}")
        account = asked.headers.get("Stripe-Account") or asked.headers.get("Stripe-Context") or ""
        account = account.rpartition("/")[2]
        if key == ORG_KEY and not (asked.headers.get("Stripe-Context") and asked.headers.get("Stripe-Version")):
            raise StripeError(400, "Organization API keys need the headers Stripe-Context and Stripe-Version.")
        if account and account not in self.connected:
            raise StripeError(
                403,
                f"The provided key '{key[:8]}***{key[-4:]}' does not have access to account '{account}' (or that "
                "account does not exist). Application access may have been revoked.",
                "account_invalid",
            )
        if asked.path == "/v1/account":
            return self.account
        if asked.path == "/v1/events":
            return self.list_events(asked, account)
        if asked.path == "/v2/core/events":
            return self.list_thin_events(asked, account)
        if asked.path == "/v1/accounts":
            return self._list(asked, [{"id": one, "object": "account"} for one in sorted(self.connected)])
        if asked.path.startswith("/v1/webhook_endpoints"):
            return self._endpoints(asked)
        if asked.method != "GET":
            (_, written), is_replayed = self.writes.write(asked, account)
            return {**written, "idempotent-replayed": is_replayed}
        if (account, asked.path) in self._paths:
            return self._paths[account, asked.path]
        if asked.path.startswith("/v2/"):
            raise StripeError(404, "The requested resource was not found.", "not_found")
        return self._object(asked, account, key)

    def _object(self, asked: Request, account: str, key: str) -> dict[str, Any]:
        if asked.path == "/v1/subscription_items":
            return self._list(asked, self._lists[account, dict(asked.query)["subscription"]]["items"], account)
        if asked.path == "/v1/entitlements/active_entitlements":
            return self._list(asked, self._lists[account, dict(asked.query)["customer"]]["entitlements"], account)
        if asked.path in COLLECTIONS:
            noun, _ = COLLECTIONS[asked.path]
            objects = [value for (owner, _), value in self._objects.items() if owner == account]
            listed = list_objects(asked, noun, objects)
            version = asked.headers.get("Stripe-Version", "")
            return {**listed, "data": [self.render(self._shown(value, account), version) for value in listed["data"]]}
        found = re.fullmatch(r"(/v1/[a-z_/]+?)/([^/]+)(?:/([a-z_]+))?", asked.path)
        if found is None or found[1] not in COLLECTIONS:
            raise StripeError(404, f"Unrecognized request URL ({asked.method}: {asked.path}).")
        noun, title = COLLECTIONS[found[1]]
        allowed = self.keys[key]
        if allowed is not None and noun not in allowed:
            raise StripeError(
                403,
                f"Permission denied. The provided key '{key[:8]}***{key[-6:]}' does not have the required permissions "
                f"for this endpoint on account '{account or self.account['id']}'. Enabling \"{title} Read\" "
                f"('{noun.replace('.', '_')}_read') permissions on this key would allow this request to continue.",
            )
        stored = self._objects.get((account, found[2]))
        if stored is None or stored["object"] != noun:
            raise StripeError(404, f"No such {noun}: '{found[2]}'", "resource_missing", "id")
        if bool(stored.get("livemode")) != ("_live_" in key):
            modes = ("live", "test") if stored.get("livemode") else ("test", "live")
            raise StripeError(
                404,
                f"No such {noun}: '{found[2]}'; a similar object exists in {modes[0]} mode, but a {modes[1]} mode key "
                "was used to make this request.",
                "resource_missing",
                "id",
            )
        if found[3] is not None:
            return self._list(asked, self._lists.get((account, found[2]), {}).get(found[3], []), account)
        shown = self._shown(stored, account)
        for i, path in enumerate(values(asked.query, "expand")):
            self._expand(shown, path.split("."), path, i, account)
        return self.render(shown, asked.headers.get("Stripe-Version", ""))

    # -- objects, lists, expanding ----------------------------------------------------------------------------

    def _shown(self, stored: dict[str, Any], account: str) -> dict[str, Any]:
        shown = copy.deepcopy(stored)
        for name in self._lists.get((account, stored["id"]), {}):
            if (stored["object"], name) not in ONLY_EXPANDED:
                shown[name] = self._list_inside(stored, account, name)
        return shown

    def _list_inside(self, stored: dict[str, Any], account: str, name: str) -> dict[str, Any]:
        items = self._lists.get((account, stored["id"]), {}).get(name, [])
        collection = next(path for path, (noun, _) in COLLECTIONS.items() if noun == stored["object"])
        url = f"{collection}/{stored['id']}/{name}"
        if (stored["object"], name) == ("subscription", "items"):
            url = f"/v1/subscription_items?subscription={stored['id']}"
        data = copy.deepcopy(items[:PUT_IN])
        return {"object": "list", "data": data, "has_more": len(items) > PUT_IN, "url": url}

    def _expand(self, part: Any, steps: list[str], path: str, i: int, account: str) -> None:
        if not steps or part is None:
            return
        if isinstance(part, list):
            for item in part:
                self._expand(item, steps, path, i, account)
            return
        name, *rest = steps
        value = part.get(name)
        if (part.get("object"), name) in ONLY_EXPANDED and not isinstance(value, dict):
            part[name] = self._list_inside(part, account, name)
        elif isinstance(value, str) and (account, value) in self._objects:
            part[name] = copy.deepcopy(self._objects[account, value])
        elif not rest or value is None:
            raise StripeError(400, f"This property cannot be expanded ({path}).", None, f"expand[{i}]")
        self._expand(part[name], rest, path, i, account)

    def _list(self, asked: Request, items: list[dict[str, Any]], account: str = "") -> dict[str, Any]:
        query = dict(asked.query)
        limit, start = limit_of(query), 0
        if "starting_after" in query:
            places = [i for i, item in enumerate(items) if item["id"] == query["starting_after"]]
            if not places:
                raise StripeError(
                    400, f"No such item: '{query['starting_after']}'", "resource_missing", "starting_after"
                )
            start = places[0] + 1
        data = copy.deepcopy(items[start : start + limit])
        for i, path in enumerate(values(asked.query, "expand")):
            self._expand({"data": data}, path.split("."), path, i, account)
        return {"object": "list", "url": asked.path, "has_more": start + limit < len(items), "data": data}

    # -- events and endpoints ---------------------------------------------------------------------------------

    def _endpoints(self, asked: Request) -> dict[str, Any]:
        endpoint_id = asked.path.removeprefix("/v1/webhook_endpoints").strip("/")
        if asked.method == "GET" and not endpoint_id:
            return self._list(asked, list(reversed(self.endpoints.values())))
        if endpoint_id and endpoint_id not in self.endpoints:
            raise StripeError(404, f"No such webhook endpoint: '{endpoint_id}'", "resource_missing", "id")
        if asked.method == "GET":
            return self.endpoints[endpoint_id]
        if asked.method == "DELETE":
            del self.endpoints[endpoint_id]
            return {"id": endpoint_id, "object": "webhook_endpoint", "deleted": True}
        given: dict[str, Any] = {name: value for name, value in asked.form if "[" not in name}
        if enabled := values(asked.form, "enabled_events"):
            given["enabled_events"] = enabled
            bad = next((one for one in enabled if "*" in one and one != "*"), None)
            if bad is not None:
                raise StripeError(
                    400, f"Invalid enabled_events[0]: must be one of ..., not {bad}", None, "enabled_events"
                )
        if metadata := {k[9:-1]: v for k, v in asked.form if k.startswith("metadata[")}:
            given["metadata"] = metadata
        if "disabled" in given:
            given["status"] = "disabled" if given.pop("disabled") == "true" else "enabled"
        if endpoint_id:
            for fixed in ("api_version", "connect"):
                if fixed in given:
                    raise StripeError(400, f"Received unknown parameter: {fixed}", "parameter_unknown", fixed)
            self.endpoints[endpoint_id].update(given)
            return self.endpoints[endpoint_id]
        if "url" not in given or not enabled:
            raise StripeError(400, "Missing required param: url or enabled_events.", "parameter_missing")
        if len(self.endpoints) >= MOST_ENDPOINTS:
            raise StripeError(400, f"You have reached the maximum of {MOST_ENDPOINTS} test webhook endpoints.")
        live = "_live_" in asked.headers["Authorization"]
        if live and not given["url"].startswith("https://"):
            raise StripeError(400, "Invalid URL: URL must be HTTPS in live mode", "url_invalid", "url")
        connect = given.pop("connect", "false") == "true"
        made: dict[str, Any] = {"id": f"we_{secrets.token_hex(8)}", "object": "webhook_endpoint", "status": "enabled"}
        made |= {
            "livemode": live,
            "api_version": None,
            "application": None,
            "description": None,
            "metadata": {},
            **given,
        }
        self.endpoints[made["id"]] = made
        self.connect_endpoints |= {made["id"]} if connect else set()  # Stripe does not show it
        return {**made, "secret": f"whsec_{secrets.token_hex(16)}"}  # told once, at creation
