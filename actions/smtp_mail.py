"""Connections to a mail server, kept for the next mail, and what its answers to one mail mean."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib

from gateway.plugin import Reject, Retry, SmtpConnection

_CONNECT_SECONDS = 15.0
_IDLE_SECONDS = 30.0


class SmtpPool:
    """Connections to one mail server, kept open between mails."""

    def __init__(self, settings: SmtpConnection, base_folder: str) -> None:
        self._settings = settings
        self._base_folder = Path(base_folder)
        self._idle: list[tuple[float, aiosmtplib.SMTP]] = []

    async def take(self) -> aiosmtplib.SMTP:
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, client = self._idle.pop()
            if client.is_connected and now - since < _IDLE_SECONDS:
                return client
            client.close()
        return await self._connect()

    def give(self, client: aiosmtplib.SMTP) -> None:
        if client.is_connected:
            self._idle.append((asyncio.get_running_loop().time(), client))

    async def close(self) -> None:
        while self._idle:
            _, client = self._idle.pop()
            try:
                await client.quit(timeout=2)
            except (aiosmtplib.SMTPException, OSError):
                client.close()

    async def _connect(self) -> aiosmtplib.SMTP:
        s = self._settings
        context = None
        if s.tls != "none":
            try:
                context = ssl.create_default_context(cafile=str(self._base_folder / s.ca_file) if s.ca_file else None)
            except (OSError, ssl.SSLError) as error:
                raise Reject(f"cannot read ca_file {s.ca_file}: {error}") from None
        client = aiosmtplib.SMTP(
            hostname=s.host,
            port=s.port,
            use_tls=s.tls == "implicit",
            start_tls=s.tls == "starttls",
            tls_context=context,
            timeout=_CONNECT_SECONDS,
        )
        try:
            await client.connect()
            if s.username:
                await client.login(s.username, s.password.get_secret_value())
            if client.is_ehlo_or_helo_needed:  # without a login nothing has asked yet what the server can do
                with contextlib.suppress(aiosmtplib.SMTPHeloError):
                    await client.ehlo()
        except aiosmtplib.SMTPAuthenticationError as error:
            client.close()
            raise Retry(f"{s.host}:{s.port} refused the login of {s.username}: {error.code}") from None
        except aiosmtplib.SMTPException as error:
            client.close()
            raise Retry(f"cannot talk to {s.host}:{s.port}: {error}") from None
        except BaseException:
            client.close()
            raise
        return client


async def send(
    client: aiosmtplib.SMTP, message: EmailMessage, recipients: list[str], *, wait_for_all: bool
) -> dict[str, str]:
    """Sends once; who was refused, and how, though others were accepted. `wait_for_all`: to nobody where one of several
    may be accepted later. Raises Retry and Reject.
    """
    international = any(not address.isascii() for address in recipients)
    if international and not client.supports_extension("smtputf8"):
        raise Reject("the mail server takes no addresses with letters beyond ASCII (SMTPUTF8)")
    try:
        if wait_for_all and len(recipients) > 1:
            await _refuse_to_split(client, message, recipients, international)
        answers, _ = await client.send_message(message, recipients=recipients)
    except aiosmtplib.SMTPRecipientsRefused as error:
        codes = {refusal.recipient: (refusal.code, refusal.message) for refusal in error.recipients}
        text = "; ".join(f"{address}: {code} {one_line(said)}" for address, (code, said) in codes.items())
        if any(400 <= code < 500 for code, _ in codes.values()):
            raise Retry(f"no recipient was accepted: {text}", of_connection=False) from None
        raise Reject(f"no recipient was accepted: {text}") from None
    except aiosmtplib.SMTPResponseException as error:
        said = f"the mail server answered {error.code} {one_line(error.message)}"
        if 500 <= error.code < 600:
            raise Reject(said) from None
        raise Retry(said) from None
    except aiosmtplib.SMTPException as error:
        raise Retry(f"the mail server broke off: {one_line(str(error))}") from None
    return {address: f"{answer.code} {one_line(answer.message)}" for address, answer in answers.items()}


async def _refuse_to_split(
    client: aiosmtplib.SMTP, message: EmailMessage, recipients: list[str], international: bool
) -> None:
    """Raises Retry where some recipients, but not all, are refused for now (greylisting, a full mailbox), before
    anything is sent: who was sent to would get the mail again at the next attempt, and who was not would never get it.
    """
    encoding = "utf-8" if international else "ascii"
    later: dict[str, str] = {}
    await client.mail(
        message["From"].addresses[0].addr_spec, options=["SMTPUTF8"] if international else [], encoding=encoding
    )
    for address in recipients:
        try:
            await client.rcpt(address, encoding=encoding)
        except aiosmtplib.SMTPRecipientRefused as error:
            if 400 <= error.code < 500:
                later[address] = f"{error.code} {one_line(error.message)}"
    await client.rset()
    if later and len(later) < len(recipients):
        text = "; ".join(f"{address}: {said}" for address, said in later.items())
        raise Retry(f"the mail waits for recipients that are refused for now: {text}", of_connection=False)


def one_line(text: str) -> str:
    """What a server said, on one line, without control characters, and cut."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
