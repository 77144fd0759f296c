"""Sends the event to a service over HTTP, signed. Safe to run twice: the receiver sees the same `webhook-id`."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import quote, unquote, urljoin, urlsplit

from pydantic import Field
from standardwebhooks.webhooks import Webhook

from gateway.plugin import (
    UNTIL_RESUMED,
    Action,
    Connection,
    Context,
    Finding,
    HttpConnection,
    ProbeContext,
    Reject,
    Retry,
    Settings,
    Text,
    guarded_session,
    refusal,
    retry_after_seconds,
)

if TYPE_CHECKING:  # takes long to import: `gateway check` does without
    import aiohttp
    from yarl import URL

_READ_BYTES = 64 * 1024
_RETRIED = frozenset((408, 409, 425, 429))
_EXPRESSION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_ALLOWED = "%/:?@!$&'()*+,;=~"  # in a path or a query beside letters and digits (RFC 3986, section 3.3)
_STRAY_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_NO_CLIMBING = "url has . or .. as a part of its path: write the path out"
_RESERVED = frozenset(("host", "content-length", "transfer-encoding", "connection"))


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
        description="Sent instead of the raw event: text, or a mapping or list, sent as JSON.",
        examples=[{"order": "{{ object.id }}"}],
    )
    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE"] | None = Field(
        None, description="Instead of the connection's.", examples=["PUT"]
    )
    url: Annotated[str | None, Text(escape=escape_segment, keeps_lone=True)] = Field(
        None,
        description="A path or URL at the connection's own origin. What a template brings is one part of the path.",
        examples=["/orders/{{ object.id }}"],
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="Sent besides the connection's.", examples=[{"X-Shop": "{{ account.name }}"}]
    )

    @classmethod
    def check(cls, written: Mapping[str, Any]) -> Iterable[str]:
        """A url whose templates would be escaped twice, or are no part of a path, or that climbs."""
        url = written.get("url")
        if not isinstance(url, str):
            return
        expressions = _EXPRESSION.findall(url)
        escaped = [text for text in expressions if text != url and not re.search(r"\|\s*safe\b", text)]
        if any("urlencode" in text for text in escaped):
            yield "url escapes what each template brings: leave out urlencode, or add | safe"
        if any(url.startswith(text) for text in escaped):
            yield "url begins with a template, which brings one part of a path: add | safe where it brings more"
        if _climbs(_EXPRESSION.sub("x", url)):
            yield _NO_CLIMBING


class HttpForward(Action[HttpForwardSettings]):
    """Sends the raw event, or a templated body, to a service; signed at send time, never redirected."""

    name: ClassVar[str] = "http_forward"
    Settings: ClassVar[type[Settings]] = HttpForwardSettings

    async def open(self, connection: HttpConnection, base_folder: str) -> aiohttp.ClientSession:
        """One session, whose sockets refuse what the connection may not reach."""
        import aiohttp

        return guarded_session(
            allow_private=connection.allow_private,
            limit=connection.concurrency,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self, resource: aiohttp.ClientSession) -> None:
        """Closes the session."""
        await resource.close()

    def rehearse(self, settings: HttpForwardSettings, context: Context) -> None:
        """Makes the request, signature included."""
        _request(settings, context)

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """The service answers OPTIONS, a request without body that asks for nothing to be done; each address once."""
        from actions.http_probe import probed

        connection: HttpConnection = context.connection
        places: dict[URL, str] = {_target(connection.url, None): ""}
        for use in context.uses:
            url = use.settings.get("url")
            if isinstance(url, str):
                try:
                    places.setdefault(_target(connection.url, url), use.place)
                except Reject as error:
                    yield Finding.bad(error.message, "give a path, or another connection", use=use.place)
        for url, place in places.items():
            yield await probed(context.resource, connection, url, place, context.timeout_seconds)

    async def run(self, settings: HttpForwardSettings, context: Context) -> Mapping[str, Any]:
        """Sends once. Output: status, headers, body."""
        import aiohttp

        connection: HttpConnection = context.connection
        target, headers, body = _request(settings, context)
        try:
            async with context.resource.request(
                settings.method or connection.method,
                target,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=context.timeout_seconds),
            ) as response:
                return await _answer(response, context)
        except aiohttp.ClientConnectorError as error:
            if reason := refusal(error.os_error):
                raise Reject(reason) from None
            raise Retry(f"cannot connect to {error.host}:{error.port}: {error.os_error}") from None
        except aiohttp.InvalidURL:
            raise Reject("the url is not valid") from None
        except aiohttp.ClientError as error:
            raise Retry(f"the connection broke: {type(error).__name__}: {error}") from None


async def _answer(response: aiohttp.ClientResponse, context: Context) -> Mapping[str, Any]:
    """The output, for a 2xx; else what to do."""
    status = response.status
    raw = bytearray()
    async for chunk in response.content.iter_chunked(8192):
        raw += chunk
        if len(raw) > _READ_BYTES:
            response.close()  # the rest is not wanted, however long it is
            break
    text = bytes(raw[:_READ_BYTES]).decode("utf-8", "replace")
    if 200 <= status < 300:
        body: Any = text
        if "json" in response.headers.get("Content-Type", "") and len(raw) <= _READ_BYTES:
            try:
                body = json.loads(text)
            except ValueError:
                body = text
        kept = {name: value for name, value in response.headers.items() if name.lower() != "set-cookie"}
        return {"status": status, "headers": kept, "body": body}
    said = " ".join("".join(c if c.isprintable() else " " for c in text[:400]).split())[:200]
    message = f"answered {status}" + (f": {said}" if said else "")
    after = retry_after_seconds(response.headers.get("Retry-After"), context.now())
    if status in _RETRIED or status >= 500:
        pause = after if status in (429, 503) else None
        raise Retry(message, after_seconds=after, pause_seconds=pause, of_connection=status != 409)
    if status == 410:
        raise Reject(f"{message} (gone: the connection rests until it is resumed)", pause_seconds=UNTIL_RESUMED)
    if 300 <= status < 400:
        raise Reject(f"answered {status}, a redirect, which is never followed; put the final address in the connection")
    raise Reject(message)


def _request(settings: HttpForwardSettings, context: Context) -> tuple[URL, dict[str, str], bytes]:
    """Where to, with which headers, and the body. Raises Reject."""
    connection: HttpConnection = context.connection
    body, content_type = context.body, "application/json; charset=utf-8"
    if settings.body is not None:
        body, content_type = _body(settings.body)
    headers = {
        "Content-Type": content_type,
        "User-Agent": "stripe-fulfilment-gateway",
        "Idempotency-Key": context.delivery_id,
        "X-Stripe-Event-Id": str(context.event.get("id", "")),
        **{name: secret.get_secret_value() for name, secret in connection.headers.items()},
        **settings.headers,
        **_signature(connection, context, body),
    }
    for name, value in headers.items():
        if name.lower() in _RESERVED or any(character in name + value for character in "\r\n\0"):
            raise Reject(f"the header {name[:40]!r} may not be set so: reserved, or with a line break in it")
    return _target(connection.url, settings.url), headers, body


def _body(content: Any) -> tuple[bytes, str]:
    if isinstance(content, str):
        return content.encode(), "text/plain; charset=utf-8"
    return json.dumps(content, default=str, ensure_ascii=False).encode(), "application/json; charset=utf-8"


def _target(base: str, url: str | None) -> URL:
    """Where to send, to the letter of what is written. Raises Reject for another origin than the connection's, whose
    signature and headers stay at home, and for a path that climbs.
    """
    from yarl import URL  # takes long to import

    if url is not None and _climbs(url):
        raise Reject(_NO_CLIMBING)
    try:
        ours, theirs = urlsplit(base), urlsplit(urljoin(base, url or ""))
        authority = URL(f"{theirs.scheme}://{theirs.netloc}").raw_authority
    except ValueError:
        raise Reject("the url is not valid") from None
    if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
        raise Reject(f"url leads to another origin than the connection's {ours.scheme}://{ours.hostname}")
    # yarl would decode %2F, %7E and others in what it reads, and who signs the raw address would find another
    path, query = (_STRAY_PERCENT.sub("%25", quote(part, safe=_ALLOWED)) for part in (theirs.path, theirs.query))
    return URL.build(scheme=theirs.scheme, authority=authority, path=path or "/", query_string=query, encoded=True)


def _climbs(url: str) -> bool:
    """Whether a URL has a dot segment, also where a receiver would see one only after it has decoded %2F and %2E."""
    path = re.split(r"[?#]", url, maxsplit=1)[0]
    return not {".", ".."}.isdisjoint(re.split(r"[/\\]", unquote(path)))


def _signature(connection: HttpConnection, context: Context, body: bytes) -> dict[str, str]:
    """The headers that prove who sent this, made now."""
    if connection.scheme == "none":
        return {}
    now = context.now()
    seconds = int(now.timestamp())
    if connection.scheme == "stripe":  # https://docs.stripe.com/webhooks/signature
        signed = f"{seconds}.".encode() + body
        digests = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in connection.secrets]
        return {"Stripe-Signature": ",".join([f"t={seconds}", *(f"v1={digest}" for digest in digests)])}
    try:  # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
        text = body.decode()
        signatures = [Webhook(secret).sign(context.delivery_id, now, text) for secret in connection.secrets]
    except UnicodeDecodeError:
        raise Reject("a body that is not UTF-8 cannot be signed by Standard Webhooks") from None
    except (binascii.Error, ValueError, RuntimeError):
        raise Reject("signing_secret is no Standard Webhooks secret: whsec_ and then base64") from None
    return {
        "webhook-id": context.delivery_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(signatures),
    }
