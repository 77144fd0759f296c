"""The request of a forward: where to, with which headers, which body, and how it is signed."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlencode, urljoin, urlsplit

from standardwebhooks.webhooks import Webhook

from gateway.plugin import Context, HttpConnection, Reject, without_secrets

if TYPE_CHECKING:  # takes long to import: `gateway check` does without
    from multidict import CIMultiDict
    from yarl import URL

USER_AGENT = "stripe-fulfilment-gateway"
NO_CLIMBING = "url has . or .. as a part of its path: write the path out"
ELSEWHERE = "url leads to another origin than the connection's"
NO_URL = "the url is not valid"
WITHOUT_BODY = ("GET", "DELETE")  # which send no event unless they are told to
_ALLOWED = "%/:?@!$&'()*+,;=~"  # in a path or a query beside letters and digits (RFC 3986, section 3.3)
_STRAY_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_WHOLE = re.compile(r"//|\\\\|[A-Za-z][A-Za-z0-9+.-]*:")  # begins a URL that has a host of its own
_JSON = "application/json; charset=utf-8"


def headers_and_body(
    context: Context, method: str, body: Any, form: Mapping[str, Any] | None, own: Mapping[str, str]
) -> tuple[CIMultiDict[str], bytes]:
    """What is sent, signature included. Raises Reject."""
    from multidict import CIMultiDict

    connection: HttpConnection = context.connection
    content, content_type = _content(context, method, body, form)
    headers = CIMultiDict(
        {
            "User-Agent": USER_AGENT,
            "Idempotency-Key": context.delivery_id,
            "X-Stripe-Event-Id": str(context.event.get("id", "")),
        }
    )
    if content_type:
        headers["Content-Type"] = content_type
    if connection.headers:
        headers.update({name: secret.get_secret_value() for name, secret in connection.headers.items()})
    if own:
        headers.update(own)
    headers.update(_signature(connection, context, content))
    return headers, content


def _content(context: Context, method: str, body: Any, form: Mapping[str, Any] | None) -> tuple[bytes, str]:
    """The body and its type; both empty where there is none."""
    if form is not None:
        return urlencode(list(_pairs(form))).encode(), "application/x-www-form-urlencoded"
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    if body is not None:
        return json.dumps(body, default=str, ensure_ascii=False).encode(), _JSON
    return (b"", "") if method in WITHOUT_BODY else (context.body, _JSON)


def _pairs(form: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The fields of a form: a list is its field several times, null is no field. Raises Reject."""
    pairs = []
    for name, value in form.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, (dict, list)):
                raise Reject(f"form.{name} holds a mapping or a list of lists, which a form cannot say")
            if item is not None:
                pairs.append((name, json.dumps(item) if isinstance(item, (bool, int, float)) else str(item)))
    return pairs


@functools.lru_cache(256)
def target(base: str, url: str | None) -> URL:
    """Where to send, to the letter of what is written: a path goes on from the connection's, whose query stays.
    Raises Reject for another origin than the connection's, whose signature and headers stay at home, and for a path
    that climbs.
    """
    from yarl import URL  # takes long to import

    if url is not None and climbs(url):
        raise Reject(NO_CLIMBING)
    try:
        ours, theirs = origin_and_target(base, url)
        authority = URL(f"{theirs.scheme}://{theirs.netloc}").raw_authority
    except ValueError:
        raise Reject(NO_URL) from None
    if is_elsewhere(ours, theirs):
        raise Reject(f"{ELSEWHERE} {ours.scheme}://{ours.hostname}")
    # yarl would decode %2F, %7E and others in what it reads, and who signs the raw address would find another
    path, query = (_STRAY_PERCENT.sub("%25", quote(part, safe=_ALLOWED)) for part in (theirs.path, theirs.query))
    return URL.build(scheme=theirs.scheme, authority=authority, path=path or "/", query_string=query, encoded=True)


def origin_and_target(base: str, url: str | None) -> tuple[SplitResult, SplitResult]:
    """The connection's url, and where a url of an action leads from there. Raises ValueError."""
    return urlsplit(base), urlsplit(urljoin(base, url) if url and _WHOLE.match(url) else _joined(base, url or ""))


def is_elsewhere(ours: SplitResult, theirs: SplitResult) -> bool:
    """Whether it is another origin."""
    return (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc)


def _joined(base: str, url: str) -> str:
    """A path below that of the connection, with the queries of both."""
    address, mark, query = base.partition("#")[0].partition("?")
    path, more_mark, more = url.partition("#")[0].partition("?")
    queries = "&".join(text for text in (query, more) if text)
    if path:
        address = f"{address.rstrip('/')}/{path.lstrip('/')}"
    return address + (mark or more_mark) + queries


def shown_url(base: str, url: URL) -> str:
    """A target without what may be secret of the connection's url: user, password, the values of its query; its path
    where the configuration keeps that secret, as of a url that came from `${...}` whole.
    """
    return _shown_url(base, url, without_secrets(base))


@functools.lru_cache(256)
def _shown_url(base: str, url: URL, known: str) -> str:
    shown, parts = url.with_user(None), urlsplit(base)
    if parts.path.strip("/") not in known:
        own_path = target(base, None).raw_path.rstrip("/")
        shown = shown.with_path(f"/***{url.raw_path.removeprefix(own_path)}", encoded=True, keep_query=True)
    own = [pair for pair in parts.query.split("&") if pair]
    if not own:
        return str(shown)
    pairs = url.raw_query_string.split("&")
    hidden = [f"{pair.partition('=')[0]}=***" for pair in pairs[: len(own)]]
    return f"{shown.with_query(None)}?{'&'.join([*hidden, *pairs[len(own) :]])}"


def climbs(url: str) -> bool:
    """Whether a URL has a dot segment, also where a receiver would see one only after it has decoded %2F and %2E."""
    path = re.split(r"[?#]", url, maxsplit=1)[0]
    return not {".", ".."}.isdisjoint(re.split(r"[/\\]", unquote(path)))


_signer = functools.lru_cache(64)(Webhook)  # its key, decoded once


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
    except UnicodeDecodeError:
        raise Reject("a body that is not UTF-8 cannot be signed by Standard Webhooks") from None
    try:
        signatures = [_signer(secret).sign(context.delivery_id, now, text) for secret in connection.secrets]
    except ValueError:
        raise Reject("signing_secret is no secret of Standard Webhooks: whsec_ and then base64") from None
    return {
        "webhook-id": context.delivery_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(signatures),
    }
