"""PUBLIC: how an action reaches the service of a WebConnection: guarded sockets, its proxy, its certificates; and what
each way to fail means.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from gateway.core.tasks import cancel
from gateway.plugin.action import Reject, Retry, Unreached
from gateway.plugin.addresses import literal_address, why_refused
from gateway.plugin.connections.reach import ENVIRONMENT, check_proxy, why_unusable
from gateway.plugin.connections.web import WebConnection, show
from gateway.plugin.http_client import AddressRefused, guarded_session, refusal
from gateway.plugin.quoting import quoted

if TYPE_CHECKING:  # takes long to import: `gateway check` does without
    import aiohttp
    from pydantic import SecretStr
    from yarl import URL

__all__ = ["WebClient", "read_text", "sending"]

_AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]  # as getaddrinfo gives it


class WebClient:
    """What the runs on one connection share. Make it in `Action.open`, close it in `Action.close`."""

    def __init__(self, connection: WebConnection, base_folder: str) -> None:
        import aiohttp

        self._connection = connection
        self._lookups: dict[tuple[str, int | None], asyncio.Task[Sequence[_AddressInfo]]] = {}
        self._certificates = _Certificates(connection, Path(base_folder))
        self._session = guarded_session(
            allow_private=connection.reachable,
            limit=connection.concurrency,
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def request(
        self, method: str, url: URL | str, *, timeout_seconds: float | None, **kwargs: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The answer to one request, as `aiohttp.ClientSession.request` gives it; redirects are not followed. Raises
        what aiohttp raises, and OSError where a proxy or a certificate cannot be used: `sending` says what it means.
        `timeout_seconds` is None in `Action.run`, which the gateway ends in time: a second clock costs each request.
        """
        kwargs |= {
            "allow_redirects": False,
            "ssl": self._certificates.context(),
            "timeout": _client_timeout(timeout_seconds),
        }
        if self._connection.proxy is None:  # nothing to wait for: each layer of the usual way is paid by every forward
            return self._session.request(method, url, **kwargs)
        return self._through_proxy(method, url, proxy_for(self._connection.proxy, str(url)), kwargs)

    @contextlib.asynccontextmanager
    async def _through_proxy(
        self, method: str, url: URL | str, proxy: str | None, kwargs: dict[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        import aiohttp

        if proxy is not None:
            await self._refuse_behind_proxy(urlsplit(str(url)).hostname or "")
            parts = urlsplit(proxy)
            if parts.username is not None:
                credentials = aiohttp.encode_basic_auth(unquote(parts.username), unquote(parts.password or ""))
                kwargs["proxy_headers"] = {"Authorization": credentials}  # sent as Proxy-Authorization, and to it alone
            kwargs["proxy"] = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        async with self._session.request(method, url, **kwargs) as response:
            yield response

    async def _refuse_behind_proxy(self, host: str) -> None:
        """The guard at the socket sees the proxy alone: what this machine knows of the address behind it is looked at
        here. Raises AddressRefused.
        """
        literal = literal_address(host)
        addresses = {literal} if literal is not None else set()
        if literal is None:
            with contextlib.suppress(OSError, UnicodeError):  # a name that only the proxy knows
                addresses = {str(address[0]) for *_, address in await self._looked_up(host, None)}
        for address in addresses:
            if (reason := why_refused(address, self._connection.reachable)) is not None:
                raise AddressRefused(reason)

    async def is_listening(self, url: str) -> bool:
        """Whether somebody takes connections at a URL, or at the proxy that leads there. Sends nothing. Raises
        OSError.
        """
        parts = urlsplit(proxy_for(self._connection.proxy, url) or url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        loop = asyncio.get_running_loop()
        for family, kind, protocol, _, address in await self._looked_up(parts.hostname or "", port):
            if why_refused(str(address[0]), self._connection.reachable) is None:
                with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as tried:
                    tried.setblocking(False)
                    await loop.sock_connect(tried, address)
                    return True
        return False

    async def _looked_up(self, host: str, port: int | None) -> Sequence[_AddressInfo]:
        """The addresses of a name. Who asks while it is looked up gets that answer: while DNS is away, a look-up keeps
        one of few threads for longer than anybody waits here, and a second would keep another. Raises OSError.
        """
        key = (host, port)
        if (task := self._lookups.get(key)) is None:
            task = self._lookups[key] = asyncio.create_task(_addresses(host, port), name=f"look up {host}")
            task.add_done_callback(lambda task: self._has_looked_up(key, task))
        return await asyncio.shield(task)

    def _has_looked_up(self, key: tuple[str, int | None], task: asyncio.Task[Sequence[_AddressInfo]]) -> None:
        del self._lookups[key]
        if not task.cancelled():
            task.exception()  # told to who waited, if anybody still does

    async def close(self) -> None:
        """Closes every connection."""
        await cancel(*self._lookups.values())
        await self._session.close()


async def _addresses(host: str, port: int | None) -> Sequence[_AddressInfo]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


@functools.lru_cache(64)
def _client_timeout(seconds: float | None) -> aiohttp.ClientTimeout:
    import aiohttp

    return aiohttp.ClientTimeout(total=seconds)


class _Certificates:
    """Whom a connection trusts, and what it shows; read anew when the files change."""

    def __init__(self, connection: WebConnection, folder: Path) -> None:
        self._ca_file, self._shown, self._folder = connection.ca_file, connection.tls, folder
        names = [connection.ca_file]
        names += [connection.tls.cert, connection.tls.key] if connection.tls is not None else []
        self._files = [folder / name for name in names if name is not None]
        self._context: ssl.SSLContext | None = None
        self._of: list[int] = []

    def context(self) -> ssl.SSLContext | bool:
        """For one request. Raises OSError."""
        if not self._files:
            return True  # aiohttp's own, which trusts what the system trusts
        try:
            changed = [file.stat().st_mtime_ns for file in self._files]
            if changed != self._of:
                context = ssl.create_default_context(
                    cafile=str(self._folder / self._ca_file) if self._ca_file else None
                )
                if self._shown is not None:
                    show(context, self._shown, self._folder)
                self._context, self._of = context, changed
        except OSError as error:
            if self._context is None:
                raise OSError(0, f"cannot use ca_file or tls: {why_unusable(error)}") from None
            # files that are just being replaced: those before go on until all of them fit
        assert self._context is not None
        return self._context


def proxy_for(proxy_setting: SecretStr | None, url: str) -> str | None:
    """Through which proxy a URL is reached, by a connection's `proxy`, or None. Raises OSError where the environment
    names one that is none.
    """
    if proxy_setting is None or proxy_setting.get_secret_value() != ENVIRONMENT:
        return None if proxy_setting is None else proxy_setting.get_secret_value()
    import urllib.request  # takes long: `gateway check` does without

    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(parts.scheme)
    where = host if parts.port is None else f"{host}:{parts.port}"
    if not proxy or _is_excepted(host, where, proxies):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        return check_proxy(proxy)
    except ValueError as error:
        raise OSError(0, f"{parts.scheme.upper()}_PROXY of the environment {error}") from None


def _is_excepted(host: str, where: str, proxies: dict[str, str]) -> bool:
    """Whether NO_PROXY names a host, or a network that holds it: urllib knows names alone."""
    import urllib.request

    if urllib.request.proxy_bypass_environment(where, proxies):  # type: ignore[attr-defined]  # typeshed knows it not
        return True
    with contextlib.suppress(ValueError):
        address = ip_address(host)
        for text in proxies.get("no", "").split(","):
            with contextlib.suppress(ValueError):
                if address in ip_network(text.strip(), strict=False):
                    return True
    return False


def sending(what: str = "") -> AbstractContextManager[None]:
    """Turns what a request raises into Retry or Reject, without a secret in it. `what` begins the message."""
    return _Sending(what)


class _Sending(AbstractContextManager[None]):
    """A class, because a generator costs every request, and this one the failed alone."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is not None:
            _tell(error, self._what)


def _tell(raised: BaseException, what: str) -> None:
    """Raises Retry or Reject where what was raised is of the request. Returns where it is not."""
    import aiohttp

    match raised:
        case aiohttp.ClientHttpProxyError():
            hint = ": look at its user and password" if raised.status in (401, 407) else ""
            raise Retry(f"{what}the proxy answered {raised.status}{hint}") from None
        case aiohttp.ClientConnectorCertificateError():
            raise Retry(f"{what}{untrusted(raised)}") from None
        case aiohttp.ClientConnectorError():
            if reason := refusal(raised.os_error):
                raise Reject(f"{what}{reason}") from None
            is_proxy = "the proxy " if isinstance(raised, aiohttp.ClientProxyConnectionError) else ""
            place = f"{is_proxy}{raised.host}:{raised.port}"
            raise Unreached(f"{what}cannot connect to {place}: {raised.os_error}") from None
        case aiohttp.InvalidURL():
            raise Reject(f"{what}the url is not valid") from None
        case aiohttp.ClientError():
            raise Retry(f"{what}the connection broke: {_told(raised)}") from None
        case TimeoutError():
            return
        case OSError():
            if reason := refusal(raised):
                raise Reject(f"{what}{reason}") from None
            raise Unreached(f"{what}{raised.strerror or raised}") from None


def untrusted(error: aiohttp.ClientConnectorCertificateError) -> str:
    """What is wrong with a server's certificate."""
    reason = getattr(error.certificate_error, "verify_message", "") or type(error.certificate_error).__name__
    return f"the certificate of {error.host} is not good: {reason}"


def _told(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    return type(error).__name__ if "://" in text else quoted(text, 200)


async def read_text(response: aiohttp.ClientResponse, most: int) -> tuple[str, bool]:
    """An answer's body as text, unpacked, and whether it is whole: no more than `most` bytes are read."""
    import aiohttp
    from aiohttp.http_exceptions import ContentEncodingError

    raw = bytearray()
    try:
        while not response.content.at_eof():
            raw += await response.content.read(16 * 1024)
            if len(raw) > most:
                response.close()  # the rest is not wanted, however long it is
                break
    except aiohttp.ClientPayloadError as error:
        if not isinstance(error.__cause__, ContentEncodingError):
            raise
        return "", False  # packed otherwise than it says: the status alone is known
    return raw[:most].decode("utf-8", "replace"), len(raw) <= most
