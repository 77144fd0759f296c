"""Connections to a mail server, kept for the next mail, and what its answers to one mail mean."""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import ssl
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib

from actions.mail_downloads import Downloads
from gateway.plugin import Reject, Retry, SmtpConnection, Unreached, quoted
from gateway.plugin.connections.smtp import MailOAuth2Settings
from gateway.plugin.mail_address import address_literal
from gateway.plugin.oauth2 import TokenSource
from gateway.plugin.web_client import WebClient

_CONNECT_SECONDS = 15.0
_IDLE_SECONDS = 30.0
_NAMELESS = "localhost"


class SmtpPool:
    """Connections to one mail server, kept open between mails."""

    def __init__(self, settings: SmtpConnection, base_folder: str) -> None:
        self._settings = settings
        self._base_folder = Path(base_folder)
        self._idle: list[tuple[float, aiosmtplib.SMTP]] = []
        self.downloads = Downloads(settings.downloads)
        self._tokens: TokenSource | None = None
        self._endpoint: WebClient | None = None

    async def take(self) -> aiosmtplib.SMTP:
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, client = self._idle.pop()
            if client.is_connected and now - since < _IDLE_SECONDS:
                return client
            client.close()
        return await self.connect()

    def give(self, client: aiosmtplib.SMTP) -> None:
        if client.is_connected:
            self._idle.append((asyncio.get_running_loop().time(), client))

    async def close(self) -> None:
        await self.downloads.close()
        if self._tokens is not None and self._endpoint is not None:
            await self._tokens.close()
            await self._endpoint.close()
        while self._idle:
            _, client = self._idle.pop()
            try:
                await client.quit(timeout=2)
            except (aiosmtplib.SMTPException, OSError):
                client.close()

    async def look(self) -> None:
        """Connects and says goodbye: looks go on, and each would leave a session open. Raises what `connect` does."""
        client = await self.connect()
        try:
            await client.quit(timeout=1)
        except (aiosmtplib.SMTPException, OSError):
            client.close()

    async def connect(self) -> aiosmtplib.SMTP:
        """A new one, greeted and logged in. Raises Retry, Reject and OSError."""
        s, where = self._settings, f"{self._settings.host}:{self._settings.port}"
        client = aiosmtplib.SMTP(
            hostname=s.host,
            port=s.port,
            local_hostname=s.hello or await asyncio.to_thread(_own_name),
            use_tls=s.tls == "implicit",
            start_tls=False,  # by hand, below: its EHLO may have to name the address of this very socket
            tls_context=self._tls_context(),
            timeout=_CONNECT_SECONDS,
        )
        try:
            await client.connect()
            if client.local_hostname == _NAMELESS:
                client.local_hostname = address_literal(client.get_transport_info("sockname")[0])
            await _greet(client)
            if s.tls == "starttls":
                await client.starttls()
                await _greet(client)
            if s.username and s.oauth2 is not None:
                await self._log_in_by_token(client, s.username, s.oauth2)
            elif s.username:
                await client.login(s.username, s.password.get_secret_value())
        except aiosmtplib.SMTPAuthenticationError as error:
            client.close()
            raise Retry(f"{where} refused the login of {s.username}: {_said(error)}") from None
        except aiosmtplib.SMTPHeloError as error:
            client.close()
            raise Retry(f"{where} refused the greeting EHLO {client.local_hostname}: {_said(error)}") from None
        except aiosmtplib.SMTPResponseException as error:
            client.close()
            raise Retry(f"{where} refused to talk: {_said(error)}") from None
        except aiosmtplib.SMTPException as error:
            client.close()
            raise Unreached(f"cannot talk to {where}: {one_line(str(error))}") from None
        except BaseException:
            client.close()
            raise
        return client

    async def _log_in_by_token(self, client: aiosmtplib.SMTP, username: str, settings: MailOAuth2Settings) -> None:
        """XOAUTH2; a token that is refused is fetched anew, once. Raises Retry and SMTPException."""
        if "xoauth2" not in client.server_auth_methods:
            raise aiosmtplib.SMTPException("the server offers no login by a token (XOAUTH2)")
        if self._tokens is None:
            self._endpoint = WebClient(settings.endpoint(), str(self._base_folder))
            self._tokens = TokenSource(settings, self._endpoint)
        token = await self._tokens.token()
        try:
            await client.auth_xoauth2(username, token)
        except aiosmtplib.SMTPAuthenticationError:
            await client.auth_xoauth2(username, await self._tokens.token(spent=token))

    def _tls_context(self) -> ssl.SSLContext | None:
        s = self._settings
        if s.tls == "none":
            return None
        try:
            return ssl.create_default_context(cafile=str(self._base_folder / s.ca_file) if s.ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise Reject(f"cannot read ca_file {s.ca_file}: {error}") from None


@functools.lru_cache(maxsize=1)
def _own_name() -> str:
    """This machine's full name; where it has none, strict servers want its address (RFC 5321, section 4.1.4)."""
    for name in (socket.gethostname(), socket.getfqdn()):
        if re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", name) and not name.lower().startswith("localhost."):
            return name
    return _NAMELESS


async def _greet(client: aiosmtplib.SMTP) -> None:
    """EHLO; HELO where the server knows no EHLO."""
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError as error:
        if error.code not in (500, 502):
            raise
        await client.helo()


async def send(
    client: aiosmtplib.SMTP, message: EmailMessage, recipients: list[str], *, wait_for_all: bool
) -> tuple[dict[str, str], str]:
    """Sends once; who was refused, and how, though others were accepted, and what the server said at the end, which
    often names the mail in its queue. `wait_for_all`: to nobody where one of several may be accepted later. Raises
    Retry and Reject.
    """
    sender: str = message["From"].addresses[0].addr_spec
    international = not all(address.isascii() for address in (sender, *recipients))
    if international and not client.supports_extension("smtputf8"):
        raise Reject("the mail server takes no addresses with letters beyond ASCII (SMTPUTF8)")
    try:
        if wait_for_all and len(recipients) > 1:
            await _refuse_to_split(client, sender, recipients, international)
        answers, said = await client.send_message(message, sender=sender, recipients=recipients)
    except aiosmtplib.SMTPRecipientsRefused as error:
        text = "; ".join(f"{refusal.recipient}: {_said(refusal)}" for refusal in error.recipients)
        if any(400 <= refusal.code < 500 for refusal in error.recipients):
            raise Retry(f"no recipient was accepted: {text}", of_connection=False) from None
        raise Reject(f"no recipient was accepted: {text}") from None
    except aiosmtplib.SMTPResponseException as error:
        said = f"the mail server answered {_said(error)}"
        if 500 <= error.code < 600:
            raise Reject(said) from None
        raise Retry(said) from None
    except aiosmtplib.SMTPException as error:
        raise Retry(f"the mail server broke off: {one_line(str(error))}") from None
    refused = {address: f"{answer.code} {one_line(answer.message)}" for address, answer in answers.items()}
    return refused, one_line(said)


async def _refuse_to_split(client: aiosmtplib.SMTP, sender: str, recipients: list[str], international: bool) -> None:
    """Raises Retry where some recipients, but not all, are refused for now (greylisting, a full mailbox), before
    anything is sent: who was sent to would get the mail again at the next attempt, and who was not would never get it.
    """
    encoding = "utf-8" if international else "ascii"
    later: dict[str, str] = {}
    await client.mail(sender, options=["SMTPUTF8"] if international else [], encoding=encoding)
    for address in recipients:
        try:
            await client.rcpt(address, encoding=encoding)
        except aiosmtplib.SMTPRecipientRefused as error:
            if 400 <= error.code < 500:
                later[address] = _said(error)
    await client.rset()
    if later and len(later) < len(recipients):
        text = "; ".join(f"{address}: {said}" for address, said in later.items())
        raise Retry(f"the mail waits for recipients that are refused for now: {text}", of_connection=False)


def _said(error: aiosmtplib.SMTPResponseException) -> str:
    """The server's own words: code and text."""
    return f"{error.code} {one_line(error.message)}"


def one_line(text: str) -> str:
    """What a server said."""
    return quoted(text, 200)
