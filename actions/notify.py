"""Notifies by Apprise. A second run may notify twice: its services know no idempotency key."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import re
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from markupsafe import escape as escape_html
from pydantic import Field, SecretStr, field_validator

from gateway.plugin import (
    Action,
    CaFile,
    Connection,
    ConnectionSettings,
    Context,
    Fault,
    Finding,
    ProbeContext,
    Proxy,
    Reject,
    Retry,
    Settings,
    Text,
    ca_file_faults,
    quoted,
    without_credentials,
)
from gateway.plugin.addresses import literal_address, why_refused
from gateway.plugin.connections.reach import ENVIRONMENT

_PASSING = frozenset((408, 425, 429))
_CODE = re.compile(r"\berror=(\d{3})\b")
_SERVICES = "https://github.com/caronc/apprise/wiki"
_proxy: contextvars.ContextVar[str | None] = contextvars.ContextVar("proxy", default=None)
_said: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("said", default=None)


def quiet(text: str) -> str:
    """So that a customer's name calls nobody: @everyone, <!channel> and their kin get a space without width."""
    return re.sub(r"(@(?=everyone|here|channel|all\b)|<(?=[!@#]))", "\\1\u200b", text, flags=re.I)


def escape_markdown(text: str) -> str:
    """So that a customer's name is no link and no markup."""
    return quiet(re.sub(r"([\\`*_\[\]<>~|#])", r"\\\1", text))


class _Listening(logging.Filter):
    """Apprise says only to its log why something failed: keeps that for the attempt in whose thread it happened, and
    from the log, because its lines name tokens.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        said = _said.get()
        if said is not None and record.levelno >= logging.WARNING:
            said.append(record.getMessage())
        return False


_LISTENING = _Listening()


@functools.cache
def _take_over_proxies() -> None:
    """Apprise's services post by functions of requests, which take no proxy from it: each request asks this method, and
    through it the attempt in whose thread it is made. Where that names none, the environment's are used as ever.
    """
    import requests  # which Apprise brings

    usual = requests.Session.merge_environment_settings

    def merged(self: Any, url: str, proxies: Any, *others: Any, **more: Any) -> Any:
        proxy = _proxy.get()
        return usual(self, url, proxies if proxy is None else {"http": proxy, "https": proxy}, *others, **more)

    requests.Session.merge_environment_settings = merged  # type: ignore[method-assign]  # there is no other way in


def _instantiated(url: str, timeout_seconds: float | None = None, ca_file: str | None = None) -> Any:
    """Apprise's own object for a URL. Raises ValueError, without the URL in it, where it knows no such service."""
    import apprise

    _take_over_proxies()

    logging.getLogger("apprise").addFilter(_LISTENING)  # once only, however often it is told
    asset = apprise.AppriseAsset(service_timeout=0, secure_logging=True, storage_mode="memory", http_redirects=False)
    try:
        notifier = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=False)
    except Exception:  # each service refuses in a way of its own, and may name a token
        notifier = None
    if notifier is None:
        raise ValueError(f"is no URL of a service that Apprise knows: see {_SERVICES}")
    notifier.redirects = False  # though the URL asks for it: a message goes where the connection says
    if ca_file is not None:
        notifier.verify_certificate = ca_file  # type: ignore[assignment]  # it hands it to requests, which takes both
    if timeout_seconds is not None:  # the thread cannot be cancelled: it ends by itself
        notifier.socket_connect_timeout = notifier.socket_read_timeout = timeout_seconds
    return notifier


class AppriseConnection(ConnectionSettings):
    """A service that Apprise knows: chat, push, SMS, mail, ... more than a hundred."""

    type: Literal["apprise"]
    url: SecretStr = Field(
        description=f"The service's URL, credentials and all, as on {_SERVICES}",
        examples=["${DISCORD_APPRISE_URL}"],
    )

    proxy: Proxy = Field(
        None,
        description="Through which proxy, for services over HTTP: http://host:port or https://host:port, with "
        "user:password@ where it asks. Left out, or env: as HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment "
        "say.",
    )
    ca_file: CaFile = Field(
        None, description="Certificates to trust instead of the system's, PEM, for services over HTTP."
    )

    def faults(self, folder: Path) -> Iterable[Fault]:
        """A proxy that is never reached, certificates that cannot be read, and both where there is no HTTP."""
        if self.own_proxy is not None:
            address = literal_address(urlsplit(self.own_proxy).hostname or "")
            if address is not None and (reason := why_refused(address, True)) is not None:
                yield Fault(("proxy",), reason)
        yield from ca_file_faults(self.ca_file, folder)
        with contextlib.suppress(ImportError, ValueError):  # told elsewhere
            notifier = _instantiated(self.url.get_secret_value())
            for name in ("proxy", "ca_file") if not _speaks_http(notifier) else ():
                if getattr(self, name) is not None:
                    yield Fault((name,), f"{notifier.service_name} is not reached over HTTP", "leave it out")

    @property
    def own_proxy(self) -> str | None:
        """The URL of the proxy that it names."""
        named = self.proxy.get_secret_value() if self.proxy is not None else ENVIRONMENT
        return None if named == ENVIRONMENT else named

    @field_validator("url")
    @classmethod
    def _known(cls, value: SecretStr) -> SecretStr:
        with contextlib.suppress(ImportError):  # told of the action that uses it
            _instantiated(value.get_secret_value())
        return value


class NotifySettings(Settings):
    """`with` of notify."""

    connection: Annotated[str, Connection(AppriseConnection)] = Field(
        description="A connection of type apprise.", examples=["phone"]
    )
    text: Annotated[str | None, Text(escape=quiet)] = Field(
        None,
        description="The message as plain text; this, markdown or html.",
        examples=["New order: {{ object.amount_total | money(object.currency) }}"],
    )
    markdown: Annotated[str | None, Text(escape=escape_markdown)] = Field(
        None, description="The message in Markdown.", examples=["**New order** by {{ object.customer_details.name }}"]
    )
    html: Annotated[str | None, Text(escape=escape_html)] = Field(
        None, description="The message in HTML.", examples=["<b>New order</b> by {{ object.customer_details.name }}"]
    )
    title: Annotated[str, Text(escape=quiet)] = Field(
        "", description="Above the message, where the service has such a thing.", examples=["Order paid"]
    )
    kind: Literal["info", "success", "warning", "failure"] = Field(
        "info", description="Colour and sign, where the service has such things.", examples=["warning"]
    )

    @classmethod
    def check(cls, written: Mapping[str, Any]) -> Iterable[str]:
        """One message."""
        if sum(bool(written.get(name)) for name in _FORMATS) != 1:
            yield "give one of text, markdown and html"


_FORMATS = ("text", "markdown", "html")


@dataclass(frozen=True, slots=True)
class _Service:
    """What runs on one connection share."""

    threads: ThreadPoolExecutor
    url: str = field(repr=False)
    proxy: str | None = field(repr=False)
    ca_file: str | None


class Notify(Action[NotifySettings]):
    """Notifies one of the more than a hundred services that Apprise knows: chat, push, SMS, mail.

    A second run may notify twice; only failed attempts are repeated.
    """

    name: ClassVar[str] = "notify"
    Settings: ClassVar[type[Settings]] = NotifySettings
    requires: ClassVar[Mapping[str, str]] = {"apprise": "stripe-fulfilment-gateway[notify]"}

    async def open(self, connection: AppriseConnection, base_folder: str) -> _Service:
        """Threads of its own, so that a service that hangs takes nobody else's."""
        threads = ThreadPoolExecutor(connection.concurrency, "notify")
        ca_file = str(Path(base_folder, connection.ca_file)) if connection.ca_file else None
        return _Service(threads, connection.url.get_secret_value(), connection.own_proxy, ca_file)

    async def close(self, resource: _Service) -> None:
        """Lets the threads end."""
        resource.threads.shutdown(wait=False, cancel_futures=True)

    def rehearse(self, settings: NotifySettings, context: Context) -> None:
        """Makes the message."""
        _message(settings)

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """The service's server, or the proxy that leads there, is reached. Nothing is sent, so whether it takes the
        credentials is not known.
        """
        service: _Service = context.resource
        notifier = await asyncio.get_running_loop().run_in_executor(service.threads, _instantiated, service.url)
        name, where = str(notifier.service_name), _server(notifier)
        if where is None:
            yield Finding.note(f"{name}: nothing can be looked at without a message")
            return
        who = "server"
        try:
            if _speaks_http(notifier) and (proxy := _proxy_of(service, *where)) is not None:
                parts = urlsplit(proxy)
                who, where = "proxy", (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
            async with asyncio.timeout(context.timeout_seconds):
                _, writer = await asyncio.open_connection(*where)
            writer.close()
        except (OSError, TimeoutError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            fix = "look at the connection's url, DNS and firewall"
            yield Finding.bad(f"{name}: its {who} is not reached: {_hidden(str(why), service)}", fix)
            return
        yield Finding.good(f"{name}: its {who} is reached; whether it takes the credentials shows with a message")

    async def run(self, settings: NotifySettings, context: Context) -> dict[str, Any]:
        """Notifies once. Output: service."""
        body, form = _message(settings)
        service: _Service = context.resource

        def send() -> tuple[bool, str, list[str]]:
            import apprise

            said: list[str] = []
            _said.set(said)
            _proxy.set(service.proxy)
            notifier = _instantiated(service.url, context.timeout_seconds, service.ca_file)
            sender = apprise.Apprise(asset=notifier.asset)
            sender.add(notifier)
            is_sent = sender.notify(body=body, title=settings.title, body_format=form, notify_type=settings.kind)
            return bool(is_sent), str(notifier.service_name), said

        exchange = context.sends(f"{settings.kind}: {settings.title}", body=body)
        run_apart = contextvars.copy_context().run
        is_sent, name, said = await asyncio.get_running_loop().run_in_executor(service.threads, run_apart, send)
        if not is_sent:
            failure = _failure(name, said, service)
            exchange.answered(failure.message)
            raise failure
        exchange.answered(f"{name} was notified")
        return {"service": name}


def _message(settings: NotifySettings) -> tuple[str, str]:
    """The message and its format. Raises Reject."""
    messages = [(text, form) for form in _FORMATS if (text := getattr(settings, form)) is not None]
    if len(messages) != 1:
        raise Reject("give one of text, markdown and html")
    if not messages[0][0].strip():
        raise Reject(f"{messages[0][1]} is empty: there is nothing to say")
    return messages[0]


def _proxy_of(service: _Service, host: str, port: int) -> str | None:
    """Through which proxy a service is reached. Raises OSError where the environment names one that is none."""
    from gateway.plugin.web_client import proxy_for

    scheme = "http" if port == 80 else "https"
    return service.proxy or proxy_for(SecretStr(ENVIRONMENT), f"{scheme}://{host}:{port}")


def _speaks_http(notifier: Any) -> bool:
    """Whether a service of Apprise's is reached over HTTP: by requests, whose name its module has."""
    return any(hasattr(sys.modules[kind.__module__], "requests") for kind in type(notifier).__mro__)


def _hidden(text: str, service: _Service) -> str:
    return without_credentials(text, ",".join(filter(None, (service.url, service.proxy))), every_part=True)


def _failure(name: str, said: list[str], service: _Service) -> Retry | Reject:
    """What a notification that was not sent means."""
    text = " ".join(said)
    codes = [int(code) for code in _CODE.findall(text)]
    if not codes:
        text = quoted(_hidden(text, service), 300)
        return Retry(f"{name} was not notified: {text or 'Apprise does not say why'}")
    code = codes[0]
    phrase = f" {HTTPStatus(code).phrase}" if code in HTTPStatus._value2member_map_ else ""
    if code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Retry(f"{name} was not notified: the proxy answered 407: look at its user and password")
    message = f"{name} answered {code}{phrase}"
    if 300 <= code < 400:
        return Reject(
            f"{message}: a redirect, which is never followed; put the final address into the connection's url"
        )
    return Retry(message) if code in _PASSING or code >= 500 else Reject(message)


def _server(notifier: Any) -> tuple[str, int] | None:
    """Host and port of a service, as far as Apprise's object tells."""
    url = urlsplit(str(getattr(notifier, "notify_url", "") or ""))
    if url.hostname and "{" not in url.hostname:
        return url.hostname, url.port or (80 if url.scheme == "http" else 443)
    host = getattr(notifier, "smtp_host", None) or getattr(notifier, "host", None)
    port = getattr(notifier, "port", None) or (443 if getattr(notifier, "secure", False) else 80)
    return (str(host), int(port)) if host else None
