"""Sends a mail. A second run may send it twice, with the same Message-ID, which mail programs fold into one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import quote

import markupsafe
from pydantic import AfterValidator, BeforeValidator, Field

from actions.mail_attachments import Attachment, path_faults, stay_in_folders
from actions.mail_message import addresses_in, mail_faults, mail_of
from gateway.plugin import (
    Action,
    Connection,
    Context,
    Fault,
    Finding,
    MailPreview,
    ProbeContext,
    Reject,
    Retry,
    SetsLocale,
    Settings,
    SmtpConnection,
    Text,
)

if TYPE_CHECKING:  # a gateway without smtp connections does without aiosmtplib
    from actions.smtp_mail import SmtpPool

PATIENT_ATTEMPTS = 4  # at which all recipients wait for one that is refused for now: seven minutes by the default retry
_SPECIALS = re.compile(r'[()<>\[\]:;,\\"\x00-\x1f\x7f]')
Addresses = str | list[str]


def escape_name(text: str) -> str:
    """What an expression brings next to other words of an address, such as `{{ name }} <{{ email }}>`: without the
    characters that structure addresses (RFC 5322, section 3.2.3), so that a customer's name cannot bring in recipients.
    """
    return " ".join(_SPECIALS.sub(" ", text).split()) if _SPECIALS.search(text) else text


def escape_uri(text: str) -> str:
    """What an expression brings as one part of a URI (RFC 3986, section 2.1)."""
    return quote(text, safe="")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else [] if value is None else value


_NAMES = Text(escape=escape_name, keeps_lone=True)
_URIS = Text(escape=escape_uri, keeps_lone=True)


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
    locale: Annotated[str | None, SetsLocale()] = Field(
        None,
        description="How money, date and datetime write in this mail: de_DE, or what the customer's browser says. What "
        "is null or no locale is English.",
        examples=["{{ object.locale }}"],
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
    list_unsubscribe: Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str]), _URIS] = (
        Field(
            default_factory=list,
            description="Where readers leave the list: an https:// URL, which mail programs post to (RFC 8058), a "
            "mailto: address, or both.",
            examples=["https://acme.example/leave?customer={{ object.customer }}"],
        )
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
        from actions.smtp_mail import SmtpPool

        return SmtpPool(connection, base_folder)

    async def close(self, resource: SmtpPool) -> None:
        """Says goodbye to the server."""
        await resource.close()

    def rehearse(self, settings: EmailSettings, context: Context) -> None:
        """Makes the mail, but for what it would fetch."""
        mail_of(settings, context)

    def preview(self, settings: EmailSettings, context: Context) -> MailPreview:
        """The mail, but for what it would fetch."""
        return MailPreview(mail_of(settings, context)[0].as_bytes())

    def faults(self, written: Mapping[str, Any], connection: SmtpConnection | None) -> Iterable[Fault]:
        """Addresses, headers and files that no server would take."""
        return mail_faults(written, connection)

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """The server answers, its certificate holds, it takes the login and each sender. Nothing is sent."""
        from actions.smtp_probe import greeting, refused, sender_finding, senders

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
                    address = addresses_in(sender, "from")[0].addr_spec
                except Reject as error:
                    yield Finding.bad(error.message, "write it as Acme <orders@acme.example>", use=use)
                    continue
                yield await sender_finding(client, address, use)
        finally:
            context.resource.give(client)

    async def is_reached(self, connection: SmtpConnection, resource: SmtpPool) -> bool:
        """The server greets, and takes the login."""
        await resource.look()
        return True

    async def run(self, settings: EmailSettings, context: Context) -> Mapping[str, Any]:
        """Sends once. Output: message_id, accepted, refused, answer: the server's words."""
        from actions.smtp_mail import send

        pool: SmtpPool = context.resource
        mail_of(settings, context)  # refuses what it can before anything is fetched
        files = await pool.downloads.files(settings.attachments)
        message, recipients = mail_of(settings, context, files)
        exchange = context.sends(
            f"MAIL FROM:<{message['From'].addresses[0].addr_spec}> RCPT TO:{', '.join(f'<{to}>' for to in recipients)}",
            [(name, str(message[name])) for name in ("Message-ID", "Subject") if name in message],
        )
        client = await pool.take()
        try:
            wait_for_all = context.attempt <= PATIENT_ATTEMPTS and context.attempts_left > 0
            refused, said = await send(client, message, recipients, wait_for_all=wait_for_all)
        except BaseException as error:
            client.close()
            if isinstance(error, (Retry, Reject)):
                exchange.answered(error.message)
            raise
        pool.give(client)
        exchange.answered(said)
        return {
            "message_id": message["Message-ID"],
            "accepted": [address for address in recipients if address not in refused],
            "refused": refused,
            "answer": said,
        }
