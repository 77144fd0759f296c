"""How a gateway's API is asked: the connection, its errors, and lists page after page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, ParamSpec, Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

P = ParamSpec("P")
T = TypeVar("T")
PREFIX = "/api/v1"
_AS_JSON = (datetime,)  # told by `isoformat`


class PageOf(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list; `each` goes through all of them."""

    items: tuple[T, ...]
    next: str | None = None  # the cursor of the page that follows; None: that was all
    searched_until: datetime | None = None  # a search by text has looked back so far


class ClientError(Exception):
    """The base of what a call may raise."""


class UnreachableError(ClientError):
    """Nothing answered, or what did is no gateway, or one whose API is another."""


class ProblemError(ClientError):
    """The gateway's own refusal, as RFC 9457 has it."""

    def __init__(self, status: int, title: str, detail: str, type: str = "about:blank") -> None:
        super().__init__(f"{status} {title}: {detail}" if detail else f"{status} {title}")
        self.status = status
        self.title = title
        self.detail = detail
        self.type = type


class ApiSession:
    """A connection to one gateway's admin listener, as one token may; to be used in `async with`, or closed."""

    def __init__(self, url: str, token: str, *, user: str = "", timeout_seconds: float = 60.0) -> None:
        """`user` is who asks, for the audit log; it proves nothing."""
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} | ({"X-Gateway-User": user} if user else {})
        self._session = aiohttp.ClientSession(
            headers=headers, timeout=aiohttp.ClientTimeout(total=timeout_seconds), cookie_jar=aiohttp.DummyCookieJar()
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Frees everything."""
        await self._session.close()

    async def _ask(
        self,
        answer: type[T],
        method: str,
        path: str,
        names: Sequence[str] = (),
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> T:
        """The answer to one call; `names` fill the path in turn. What is None is not sent. Raises ClientError."""
        url = self.url + PREFIX + path.format(*(quote(name, safe="") for name in names))
        sent = None if body is None else {key: value for key, value in body.items() if value is not None}
        data = None if sent is None else json.dumps(msgspec.to_builtins(sent, builtin_types=_AS_JSON), default=str)
        headers = {} if data is None else {"Content-Type": "application/json"}
        try:
            async with self._session.request(  # a redirect would take the token elsewhere
                method, url, params=_pairs(query or {}), data=data, headers=headers, allow_redirects=False
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"cannot reach {self.url}: {str(error) or type(error).__name__}") from None
        try:
            told = json.loads(raw)
        except ValueError:
            said = f"it answered {response.status}, and not in JSON"
            raise UnreachableError(f"{self.url} is no console: {said}") from None
        if response.status != 200:
            raise _problem(response.status, response.reason or "", told)
        try:
            return msgspec.convert(told, answer)
        except msgspec.ValidationError as error:
            said = f"answered {method} {path} otherwise than this version expects: {error}"
            raise UnreachableError(f"{self.url} {said}") from None


def _problem(status: int, reason: str, told: Any) -> ProblemError:
    problem = told if isinstance(told, dict) else {}
    title, detail, kind = (problem.get(key) for key in ("title", "detail", "type"))
    return ProblemError(status, str(title or reason), str(detail or ""), str(kind or "about:blank"))


def _pairs(query: Mapping[str, object]) -> list[tuple[str, str]]:
    """What says anything, lists as repeated names."""
    pairs = []
    for name, value in query.items():
        several = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
        pairs += [(name, _word(each_value)) for each_value in several if each_value is not None]
    return pairs


def _word(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str) else json.dumps(value)


async def each(call: Callable[P, Awaitable[PageOf[T]]], *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
    """What stands on every page of a list: `async for event in each(client.list_events, type=["invoice.*"])`."""
    while True:
        page = await call(*args, **kwargs)
        for item in page.items:
            yield item
        if page.next is None:
            return
        kwargs["cursor"] = page.next
