"""Access tokens by client credentials or a refresh token (RFC 6749, sections 4.4 and 6): fetched once for all who wait,
kept until shortly before their end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from gateway.plugin.action import Reject, Retry
from gateway.plugin.connections.http import OAuth2Settings
from gateway.plugin.http_client import retry_after_seconds
from gateway.plugin.quoting import quoted
from gateway.plugin.web_client import WebClient, read_text, sending

_FETCH_SECONDS = 20.0
_EARLY_SECONDS = 60.0  # before its end a token is renewed: or after nine tenths of its life, where that is later
_MOST_BYTES = 64 * 1024


class TokenSource:
    """The token of one connection."""

    def __init__(
        self, settings: OAuth2Settings, client: WebClient, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._client, self._clock = settings, client, clock
        self._token: str | None = None
        self._refresh = settings.refresh_token.get_secret_value()  # or the one that came with the last token
        self._good_until = float("inf")
        self._fetching: asyncio.Task[str] | None = None

    async def token(self, *, spent: str | None = None) -> str:
        """A token that is good, as far as is known; another than `spent`, which the service has refused. Who asks while
        one is fetched gets that one. Raises Retry, Reject.
        """
        is_good = self._token not in (None, spent) and self._clock() < self._good_until
        if is_good and self._token is not None:
            return self._token
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="fetch an access token")
            self._fetching.add_done_callback(self._done)
        return await asyncio.shield(self._fetching)  # who is cancelled leaves the others waiting

    def _done(self, task: asyncio.Task[str]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # told to who waited, if anybody still does

    async def close(self) -> None:
        """Ends a fetch that runs."""
        if self._fetching is not None:
            self._fetching.cancel()
            with contextlib.suppress(asyncio.CancelledError, Retry, Reject):
                await self._fetching

    async def _fetch(self) -> str:
        settings = self._settings
        host = urlsplit(settings.token_url).hostname
        what = "no access token: "
        headers, body = _request(settings, self._refresh)
        began = self._clock()
        try:
            with sending(what):
                async with self._client.request(
                    "POST", settings.token_url, timeout_seconds=_FETCH_SECONDS, data=body, headers=headers
                ) as response:
                    text, _ = await read_text(response, _MOST_BYTES)
        except TimeoutError:
            raise Retry(f"{what}{host} did not answer in {_FETCH_SECONDS:g} s") from None
        answer = _json(text)
        token = answer.get("access_token")
        if response.status == 200 and isinstance(token, str) and token.isprintable() and token:
            if str(answer.get("token_type", "bearer")).lower() != "bearer":
                kind = quoted(str(answer.get("token_type")), 40)
                raise Retry(f"{what}{host} gives one of type {kind!r}, and only bearer is known")
            lasts = answer.get("expires_in")
            seconds = float(str(lasts)) if str(lasts).isdecimal() else float("inf")  # some send it as text
            self._good_until = began + max(seconds - _EARLY_SECONDS, seconds * 0.9)
            self._token = token
            if self._refresh and isinstance(newer := answer.get("refresh_token"), str):
                self._refresh = newer
            return token
        after = retry_after_seconds(response.headers.get("Retry-After"), datetime.now(UTC))
        pause = after if response.status in (429, 503) else None
        raise Retry(f"{what}{host} {_refusal(response.status, answer)}", after_seconds=after, pause_seconds=pause)


def _request(settings: OAuth2Settings, refresh_token: str) -> tuple[dict[str, str], str]:
    """Headers and body, as in RFC 6749, sections 2.3.1, 4.4.2 and 6."""
    form = {"grant_type": "client_credentials"}
    if refresh_token:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    form |= {"scope": settings.scope} if settings.scope else {}
    form |= {name: value.get_secret_value() for name, value in settings.parameters.items()}
    headers = {"Accept": "application/json", "User-Agent": "stripe-fulfilment-gateway"}
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    secret = settings.client_secret.get_secret_value()
    if settings.client_auth == "basic" and secret:
        pair = f"{quote_plus(settings.client_id)}:{quote_plus(secret)}"
        headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
    else:
        form |= {"client_id": settings.client_id, **({"client_secret": secret} if secret else {})}
    return headers, urlencode(form)


def _json(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


_HINTS = {
    "invalid_client": "look at client_id, client_secret and client_auth",
    "unauthorized_client": "the client may not use client credentials: allow it at the authorization server",
    "invalid_grant": "the refresh token is spent, or was taken back: have the person allow it anew",
    "invalid_scope": "look at scope",
    "unsupported_grant_type": "the endpoint knows no client credentials: look at token_url",
}


def _refusal(status: int, answer: dict[str, Any]) -> str:
    """An error of RFC 6749, section 5.2, or what else was answered."""
    word = answer.get("error")
    if not isinstance(word, str):
        if status == 200:
            return "answered 200 without an access_token: look at token_url"
        return f"answered {status}"
    about = str(answer.get("error_description") or "")
    told = f"{quoted(word, 60)} {quoted(about, 200)}".strip()
    hint = _HINTS.get(word)
    return f"answered {status}: {told}" + (f" ({hint})" if hint else "")
