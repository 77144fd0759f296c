"""Sends a mail. A second run may send it twice, with the same Message-ID, which mail programs fold into one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses
from pathlib import Path
from typing import Annotated, Any, ClassVar

import markupsafe
from pydantic import AfterValidator, Field

from actions.mail_attachments import Attachment, attach, path_faults, stay_in_folders
from actions.mail_headers import MAIL_POLICY
from actions.smtp_mail import SmtpPool, send
from actions.smtp_probe import greeting, refused, sender_finding, senders
from gateway.plugin import (
    Action,
    Connection,
    Context,
    Finding,
    ProbeContext,
    Reject,
    Retry,
    Settings,
    SmtpConnection,
    Text,
)

MOST_BYTES = 10 * 1024 * 1024
PATIENT_ATTEMPTS = 4  # at which all recipients wait for one that is refused for now: seven minutes by the default retry
_OWN_HEADERS = frozenset(
    ("from", "to", "cc", "bcc", "subject", "date", "message-id", "reply-to", "content-type", "mime-version")
)
_SPECIALS = re.compile(r'[()<>\[\]:;,\\"\x00-\x1f\x7f]')
_ADDRESS_AS_NAME = re.compile(r'(^|,)\s*([^",<>]*@[^",<>]*?)\s*<')
Addresses = str | list[str]


def escape_name(text: str) -> str:
    """What an expression brings next to other words of an address, such as `{{ name }} <{{ email }}>`: without the
    characters that structure addresses (RFC 5322, section 3.2.3), so that a customer's name cannot bring in recipients.
    """
    return " ".join(_SPECIALS.sub(" ", text).split()) if _SPECIALS.search(text) else text


_NAMES = Text(escape=escape_name, keeps_lone=True)


class EmailSettings(Settings):
    """`with` of email."""

    connection: Annotated[str, Connection(SmtpConnection)] = Field(
        description="A connection of type smtp.", examples=["mail"]
    )
    to: Annotated[Addresses, _NAMES] = Field(
        description="One address or several.", examples=["{{ object.customer_details.email }}"]
    )
    cc: Annotated[Addresses, _NAMES] = Field(
        default_factory=list, description="Who gets a copy.", examples=["sales@acme.example"]
    )
    bcc: Annotated[Addresses, _NAMES] = Field(
        default_factory=list,
        description="Who gets a copy that the others do not see.",
        examples=[["archive@acme.example", "books@acme.example"]],
    )
    reply_to: Annotated[Addresses, _NAMES] = Field(
        default_factory=list, description="Where answers go.", examples=["help@acme.example"]
    )
    from_: Annotated[str | None, _NAMES] = Field(
        None,
        alias="from",
        description="The sender, instead of the connection's.",
        examples=["Acme EU <orders@eu.acme.example>"],
    )
    subject: Annotated[str, Text()] = Field(description="One line.", examples=["Your order {{ object.id }}"])
    text: Annotated[str | None, Text()] = Field(
        None,
        description="The mail as text; this, html, or both.",
        examples=["Thank you: {{ object.amount_total | money(object.currency) }}"],
    )
    html: Annotated[str | None, Text(escape=markupsafe.escape)] = Field(
        None,
        description="The mail as HTML. What templates bring in is escaped.",
        examples=[{"template": "config/templates/receipt.html.j2"}],
    )
    headers: dict[str, str] = Field(default_factory=dict, description="Further headers.", examples=[{"X-Tag": "order"}])
    attachments: Annotated[list[Attachment], AfterValidator(stay_in_folders)] = Field(
        default_factory=list,
        description="Files: filename and one of content, base64, path; content_type.",
        examples=[[{"filename": "terms.pdf", "path": "config/terms.pdf", "content_type": "application/pdf"}]],
    )

    @classmethod
    def check(cls, written: Mapping[str, Any]) -> Iterable[str]:
        """Text or html; a folder before a template in a path."""
        if not written.get("text") and not written.get("html"):
            yield "give text or html, or both"
        yield from path_faults(written.get("attachments"))


class Email(Action[EmailSettings]):
    """Sends a mail, text and/or html, over a pooled SMTP connection."""

    name: ClassVar[str] = "email"
    Settings: ClassVar[type[Settings]] = EmailSettings

    async def open(self, connection: SmtpConnection, base_folder: str) -> SmtpPool:
        """A pool; it connects when the first mail is sent."""
        return SmtpPool(connection, base_folder)

    async def close(self, resource: SmtpPool) -> None:
        """Says goodbye to the server."""
        await resource.close()

    def rehearse(self, settings: EmailSettings, context: Context) -> None:
        """Makes the mail."""
        _message(settings, context)

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """The server answers, its certificate holds, it takes the login and each sender. Nothing is sent."""
        connection: SmtpConnection = context.connection
        try:
            client = await context.resource.take()
        except (Retry, Reject, OSError) as error:
            yield refused(connection, error)
            return
        try:
            yield greeting(client, connection, context.now())
            for sender, use in senders(connection, context.uses):
                try:
                    address = _addresses(sender, "from")[0].addr_spec
                except Reject as error:
                    yield Finding.bad(error.message, "write it as Acme <orders@acme.example>", use=use)
                    continue
                yield await sender_finding(client, address, use)
        finally:
            context.resource.give(client)

    async def run(self, settings: EmailSettings, context: Context) -> Mapping[str, Any]:
        """Sends once. Output: message_id, accepted, refused."""
        message, recipients = _message(settings, context)
        pool: SmtpPool = context.resource
        client = await pool.take()
        try:
            wait_for_all = context.attempt <= PATIENT_ATTEMPTS and context.attempts_left > 0
            refused = await send(client, message, recipients, wait_for_all=wait_for_all)
        except BaseException:
            client.close()
            raise
        pool.give(client)
        return {
            "message_id": message["Message-ID"],
            "accepted": [address for address in recipients if address not in refused],
            "refused": refused,
        }


def _addresses(addressees: Addresses, what: str) -> list[Address]:
    """Checked addresses. Raises Reject."""
    addresses = []
    texts = [addressees] if isinstance(addressees, str) else addressees
    for text in texts:
        if any(character in text for character in "\r\n\0"):
            raise Reject(f"{what}: an address may hold no line break")
        for name, spec in getaddresses([_ADDRESS_AS_NAME.sub(r'\1 "\2" <', text)]):
            local, at, domain = spec.rpartition("@")
            if not (at and local and domain) or re.search(r"\s", spec):
                raise Reject(f"{what}: {text[:100]!r} is no mail address")
            try:
                addresses.append(Address(name, local, domain if domain.isascii() else _ascii_domain(domain)))
            except (MessageError, ValueError, IndexError, UnicodeError):
                raise Reject(f"{what}: {text[:100]!r} is no mail address") from None
    return addresses


def _ascii_domain(domain: str) -> str:
    """A domain by IDNA 2008, as browsers and mail programs read it. Raises UnicodeError where it is none."""
    import idna  # not the codec of that name, which is of 2003 and makes another domain of ß

    return idna.encode(domain, uts46=True).decode()


def _message(settings: EmailSettings, context: Context) -> tuple[EmailMessage, list[str]]:
    """The mail, and everybody who gets it."""
    connection: SmtpConnection = context.connection
    sender = _addresses(settings.from_ or connection.from_, "from")
    to, cc, bcc = _addresses(settings.to, "to"), _addresses(settings.cc, "cc"), _addresses(settings.bcc, "bcc")
    if len(sender) != 1:
        raise Reject("from: exactly one address is needed")
    if not to and not cc and not bcc:
        raise Reject("to: there is nobody to send to")
    message = EmailMessage(policy=MAIL_POLICY)
    message["From"] = sender[0]
    message["To"] = to
    if cc:
        message["Cc"] = cc
    if reply_to := _addresses(settings.reply_to, "reply_to"):
        message["Reply-To"] = reply_to
    message["Subject"] = " ".join(settings.subject.split())
    message["Date"] = format_datetime(context.now())
    message["Message-ID"] = f"<{context.delivery_id}@{sender[0].domain}>"
    message["Auto-Submitted"] = "auto-generated"
    for name, value in settings.headers.items():
        if name.lower() in _OWN_HEADERS or not re.fullmatch(r"[A-Za-z0-9-]+", name):
            raise Reject(f"headers: {name[:40]!r} may not be set here")
        message[name] = " ".join(value.split())
    if settings.text is not None:
        message.set_content(settings.text)
        if settings.html is not None:
            message.add_alternative(settings.html, subtype="html")
    elif settings.html is not None:
        message.set_content(settings.html, subtype="html")
    else:
        raise Reject("neither text nor html is there to send")
    for attachment in settings.attachments:
        attach(message, attachment, Path(context.base_folder))
    size = len(message.as_bytes())
    if size > MOST_BYTES:
        raise Reject(f"the mail is larger than 10 MiB ({size} bytes)")
    everybody = dict.fromkeys(address.addr_spec for address in (*to, *cc, *bcc))
    return message, list(everybody)
