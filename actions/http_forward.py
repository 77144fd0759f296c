"""Sends the event to a service over HTTP, signed. Safe to run twice: the receiver sees the same `webhook-id`."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import Field

from actions.http_request import (
    ELSEWHERE,
    NO_CLIMBING,
    NO_URL,
    climbs,
    headers_and_body,
    is_elsewhere,
    origin_and_target,
    shown_url,
    target,
)
from gateway.plugin import (
    UNTIL_RESUMED,
    Action,
    Connection,
    Context,
    Exchange,
    Fault,
    Finding,
    Headers,
    HttpConnection,
    ProbeContext,
    Reject,
    RequestPreview,
    Retry,
    Settings,
    Text,
    has_status,
    quoted,
    retry_after_seconds,
)
from gateway.plugin.web_client import WebClient, read_text, sending

if TYPE_CHECKING:  # takes long to import: `gateway check` does without
    import aiohttp
    from yarl import URL

    from gateway.plugin.oauth2 import TokenSource

# what `gateway test`, `dev` and `explain` invent for a variable without a value, as a url or as a part of one
_STAND_IN = re.compile(r"127\.0\.0\.1:9|(?:.*[.@])?(?:localhost|dev-\w+)(?::\d+)?")
_RETRIED = ("408", "409", "425", "429", "500-599")
_EXPRESSION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_SHOWN_CHARACTERS = 200  # of an answer, in an error


def escape_segment(text: str) -> str:
    """What an expression brings as one part of a path, or one value of a query (RFC 3986, section 2.1)."""
    return quote(text, safe="")


class HttpForwardSettings(Settings):
    """`with` of http_forward."""

    connection: Annotated[str, Connection(HttpConnection)] = Field(
        description="A connection of type http.", examples=["warehouse"]
    )
    body: Any = Field(
        None,
        description="Sent instead of the raw event: text, or a mapping or list, sent as JSON. GET and DELETE send "
        "none unless it is given.",
        examples=[{"order": "{{ object.id }}"}],
    )
    form: dict[str, Any] | None = Field(
        None,
        description="Sent instead of the raw event as the fields of a form; a list is its field several times.",
        examples=[{"order": "{{ object.id }}", "amount": "{{ object.amount_total }}"}],
    )
    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE"] | None = Field(
        None, description="Instead of the connection's.", examples=["PUT"]
    )
    url: Annotated[str | None, Text(escape=escape_segment, keeps_lone=True)] = Field(
        None,
        description="A path below the connection's url, or a URL at its origin. What a template brings is one part of "
        "the path.",
        examples=["/orders/{{ object.id }}"],
    )
    headers: Headers = Field(
        default_factory=dict, description="Sent besides the connection's.", examples=[{"X-Shop": "{{ account.name }}"}]
    )

    @classmethod
    def check(cls, written: Mapping[str, Any]) -> Iterable[str]:
        """Two bodies, a body that cannot be; a url whose templates would be escaped twice, or are no part of a path, or
        that climbs.
        """
        bodies = [name for name in ("body", "form") if written.get(name) is not None]
        if len(bodies) > 1:
            yield "give body or form, not both"
        if bodies and written.get("method") == "GET":
            yield f"GET has no body: leave out {bodies[0]}, put it into the query of url, or say method: POST"
        for name, value in (written.get("form") or {}).items():
            if any(isinstance(item, (dict, list)) for item in (value if isinstance(value, list) else [value])):
                yield f"form.{name} holds a mapping or a list of lists, which a form cannot say"
        url = written.get("url")
        if isinstance(url, str):
            yield from _complaints(url)


def _complaints(url: str) -> Iterable[str]:
    expressions = _EXPRESSION.findall(url)
    escaped = [text for text in expressions if text != url and not re.search(r"\|\s*safe\b", text)]
    if any("urlencode" in text for text in escaped):
        yield "url escapes what each template brings: leave out urlencode, or add | safe"
    if any(url.startswith(text) for text in escaped):
        yield "url begins with a template, which brings one part of a path: add | safe where it brings more"
    if climbs(_EXPRESSION.sub("x", url)):
        yield NO_CLIMBING


@dataclass(frozen=True, slots=True)
class _HttpService:
    """What the runs on one connection share."""

    client: WebClient
    tokens: TokenSource | None


class HttpForward(Action[HttpForwardSettings]):
    """Sends the raw event, or a templated body, to a service; signed at send time, never redirected."""

    name: ClassVar[str] = "http_forward"
    Settings: ClassVar[type[Settings]] = HttpForwardSettings

    async def open(self, connection: HttpConnection, base_folder: str) -> _HttpService:
        """One client, whose sockets refuse what the connection may not reach, and the token."""
        from gateway.plugin.oauth2 import TokenSource

        client = WebClient(connection, base_folder)
        return _HttpService(client, None if connection.oauth2 is None else TokenSource(connection.oauth2, client))

    async def close(self, resource: _HttpService) -> None:
        """Closes both."""
        if resource.tokens is not None:
            await resource.tokens.close()
        await resource.client.close()

    def faults(self, written: Mapping[str, Any], connection: HttpConnection | None) -> Iterable[Fault]:
        """A url that is none, or that the connection never sends to. Its own is not shown: it may be secret."""
        url = written.get("url")
        if connection is None or not isinstance(url, str):
            return
        try:
            origins = origin_and_target(connection.url, url)
        except ValueError:
            yield Fault(("url",), NO_URL)
            return
        if is_elsewhere(*origins) and not any(_STAND_IN.fullmatch(origin.netloc) for origin in origins):
            yield Fault(("url",), ELSEWHERE, "write the path alone, or use a connection of that origin")

    def rehearse(self, settings: HttpForwardSettings, context: Context) -> None:
        """Makes the request, signature included."""
        _request(settings, context)

    def preview(self, settings: HttpForwardSettings, context: Context) -> RequestPreview:
        """The request, without what the token endpoint would give."""
        method, url, headers, body = _request(settings, context)
        return RequestPreview(method, str(url), list(headers.items()), body)

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """The service answers OPTIONS, a request without body that asks for nothing to be done; each address once."""
        from actions.http_probe import probed

        connection: HttpConnection = context.connection
        service: _HttpService = context.resource
        headers = {name: secret.get_secret_value() for name, secret in connection.headers.items()}
        if service.tokens is not None:
            try:
                headers["Authorization"] = f"Bearer {await service.tokens.token()}"
            except (Retry, Reject) as error:
                yield Finding.bad(error.message, "look at oauth2 of the connection")
                return
            yield Finding.good("the token endpoint gives an access token")
        places: dict[URL, str] = {target(connection.url, None): ""}
        for use in context.uses:
            url = use.settings.get("url")
            if isinstance(url, str):
                try:
                    places.setdefault(target(connection.url, url), use.place)
                except Reject as error:
                    yield Finding.bad(error.message, "give a path, or another connection", use=use.place)
        for url, place in places.items():
            yield await probed(service.client, headers, url, place, context.timeout_seconds)

    async def is_reached(self, connection: HttpConnection, resource: _HttpService) -> bool:
        """Somebody listens there, or at the proxy; nothing is sent."""
        return await resource.client.is_listening(connection.url)

    async def run(self, settings: HttpForwardSettings, context: Context) -> Mapping[str, Any]:
        """Sends once; once more with a new token where the service refuses the one it got. Output: status, headers,
        body.
        """
        service: _HttpService = context.resource
        method, url, headers, body = _request(settings, context)
        token = await service.tokens.token() if service.tokens is not None else None
        for is_last in (token is None, True):
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            exchange = context.sends(
                f"{method} {shown_url(context.connection.url, url)}",
                headers.items(),
                body,
                hidden=context.connection.headers,
            )
            with sending():
                async with service.client.request(
                    method, url, data=body or None, headers=headers, timeout_seconds=None
                ) as response:
                    refuses_token = response.status == 401 and not has_status(context.connection.success, 401)
                    if is_last or not refuses_token:
                        return await _answer(response, context, token, exchange)
                    exchange.answered(f"{response.status} {response.reason}", _headers(response, token))
            assert service.tokens is not None
            token = await service.tokens.token(spent=token)
        raise AssertionError("the last answer is judged")


def _headers(response: aiohttp.ClientResponse, token: str | None) -> list[tuple[str, str]]:
    """Those of an answer, without a token that it echoes."""
    return [(name, value if token is None else value.replace(token, "***")) for name, value in response.headers.items()]


async def _answer(
    response: aiohttp.ClientResponse, context: Context, token: str | None, exchange: Exchange
) -> Mapping[str, Any]:
    """The output, for a success; else what to do. The token is shown to nobody, also where it is echoed."""
    connection: HttpConnection = context.connection
    status = response.status
    shown = _headers(response, token)
    exchange.answered(f"{status} {response.reason}", shown)
    text, is_whole = await read_text(response, connection.max_answer)
    headers = {name: value for name, value in shown if name.lower() != "set-cookie"}
    if token is not None:
        text = text.replace(token, "***")
    exchange.answered(f"{status} {response.reason}", headers.items(), text)
    if has_status(connection.success, status):
        body: Any = text
        if "json" in response.headers.get("Content-Type", "") and is_whole:
            try:
                body = json.loads(text)
            except ValueError:
                body = text
        return {"status": status, "headers": headers, "body": body}
    said = quoted(text, _SHOWN_CHARACTERS)
    message = f"answered {status}" + (f": {said}" if said else "")
    after = retry_after_seconds(response.headers.get("Retry-After"), context.now())
    if has_status((*_RETRIED, *connection.retry_on), status):
        pause = after if status in (429, 503) else None
        is_of_connection = status != 409 and has_status(_RETRIED, status)  # else this delivery's own
        raise Retry(message, after_seconds=after, pause_seconds=pause, of_connection=is_of_connection)
    if status == 410:
        raise Reject(f"{message} (gone: the connection rests until it is resumed)", pause_seconds=UNTIL_RESUMED)
    if 300 <= status < 400:
        raise Reject(f"answered {status}, a redirect, which is never followed; put the final address in the connection")
    raise Reject(message)


def _request(settings: HttpForwardSettings, context: Context) -> tuple[str, URL, Any, bytes]:
    """How, where to, with which headers, and the body. Raises Reject."""
    connection: HttpConnection = context.connection
    method = settings.method or connection.method
    headers, body = headers_and_body(context, method, settings.body, settings.form, settings.headers)
    return method, target(connection.url, settings.url), headers, body
