"""What a mail server tells of itself before any mail: its certificate, and whether it takes a sender."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from ssl import SSLCertVerificationError, cert_time_to_seconds

import aiosmtplib

from actions.smtp_mail import one_line
from gateway.plugin import Finding, ProbedUse, SmtpConnection

_SOON_DAYS = 14


def refused(connection: SmtpConnection, error: Exception) -> Finding:
    """Why a connection was not made, and what would mend it."""
    text = str(error)
    if isinstance(error, SSLCertVerificationError):
        text = f"the certificate of {connection.host} is not good: {error.verify_message}"
    return Finding.bad(text or type(error).__name__, _fix(connection, text.lower()))


def _fix(connection: SmtpConnection, lowered: str) -> str:
    if "ehlo" in lowered:
        return "give the full host name of this gateway as hello on the connection, such as gateway.acme.example"
    if "token" in lowered:
        return "look at oauth2 on the connection, and whether the mailbox allows the client to send"
    if "login" in lowered or "auth" in lowered:
        return "look at username and password"
    if "certificate" in lowered:
        return "give the certificate's own name as host, or the authority that signed it as ca_file"
    if "starttls" in lowered:
        return "say tls: implicit (port 465) where the server begins with TLS, tls: none where it has none"
    if "ca_file" in lowered:
        return "put the PEM file there; relative paths start at the folder of gateway.yaml"
    return f"look at host, port and tls ({connection.tls}), and whether the server is up"


def greeting(client: aiosmtplib.SMTP, connection: SmtpConnection, now: datetime) -> Finding:
    """That the server answered, in which way, and how long its certificate holds."""
    said = {"starttls": "answers with STARTTLS", "implicit": "answers with TLS", "none": "answers without TLS"}
    text = said[connection.tls]
    certificate = client.get_transport_info("peercert") or {}
    if "notAfter" in certificate:
        until = datetime.fromtimestamp(cert_time_to_seconds(certificate["notAfter"]), UTC)
        text += f", certificate good until {until:%Y-%m-%d}"
        if (until - now).days < _SOON_DAYS:
            return Finding.note(text, "have the server's certificate renewed")
    if connection.username:
        by = " by a token" if connection.oauth2 is not None else ""
        text += f", takes the login of {connection.username}{by}"
    return Finding.good(text)


def senders(connection: SmtpConnection, uses: Iterable[ProbedUse]) -> Iterator[tuple[str, str]]:
    """Each sender once: the connection's, and those of uses, with their place."""
    seen = {connection.from_}
    yield connection.from_, ""
    for use in uses:
        sender = use.settings.get("from")
        if isinstance(sender, str) and sender not in seen:
            seen.add(sender)
            yield sender, use.place


async def sender_finding(client: aiosmtplib.SMTP, address: str, use: str) -> Finding:
    """Whether the server takes a sender: MAIL FROM, taken back by RSET."""
    try:
        await client.mail(address)
        await client.rset()
    except aiosmtplib.SMTPResponseException as error:
        text = f"does not take the sender {address}: {error.code} {one_line(error.message)}"
        return Finding.bad(text, "give a sender that the server lets this login use", use=use)
    except aiosmtplib.SMTPException as error:
        return Finding.bad(f"broke off at the sender {address}: {error}", "look at the server's log", use=use)
    return Finding.good(f"takes the sender {address}; nothing was sent", use=use)
