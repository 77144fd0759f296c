"""What becomes a mail, and what never can: addresses, headers, attachments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from actions.mail_attachments import File, attach, attachment_faults, files_of
from actions.mail_headers import MAIL_POLICY, header_fault, unsubscribe_fault, unsubscribe_headers
from gateway.plugin import Context, Fault, Reject, SmtpConnection, quoted
from gateway.plugin.mail_address import mail_addresses

if TYPE_CHECKING:
    from actions.email import EmailSettings

MOST_BYTES = 10 * 1024 * 1024


def addresses_in(addressees: str | list[str], what: str) -> list[Address]:
    """Checked addresses. Raises Reject."""
    try:
        texts = [addressees] if isinstance(addressees, str) else addressees
        return [address for text in texts for address in mail_addresses(text)]
    except ValueError as error:
        raise Reject(f"{what}: {error}") from None


def mail_of(
    settings: EmailSettings, context: Context, files: Mapping[int, File] | None = None
) -> tuple[EmailMessage, list[str]]:
    """The mail, and everybody who gets it. `files`: the attachments that were fetched, by position; None leaves them
    out. Raises Reject.
    """
    connection: SmtpConnection = context.connection
    sender = addresses_in(settings.from_ or connection.from_, "from")
    to, cc, bcc = (addresses_in(getattr(settings, name), name) for name in ("to", "cc", "bcc"))
    if len(sender) != 1:
        raise Reject("from: exactly one address is needed")
    if not to and not cc and not bcc:
        raise Reject("to: there is nobody to send to")
    message = EmailMessage(policy=MAIL_POLICY)
    message["From"] = sender[0]
    message["To"] = to
    if cc:
        message["Cc"] = cc
    if reply_to := addresses_in(settings.reply_to, "reply_to"):
        message["Reply-To"] = reply_to
    message["Subject"] = " ".join(settings.subject.split())
    message["Date"] = format_datetime(context.now())
    message["Message-ID"] = f"<{context.delivery_id}@{sender[0].domain}>"
    message["Auto-Submitted"] = "auto-generated"
    _add_headers(message, settings)
    if settings.text is not None:
        message.set_content(settings.text)
        if settings.html is not None:
            message.add_alternative(settings.html, subtype="html")
    elif settings.html is not None:
        message.set_content(settings.html, subtype="html")
    else:
        raise Reject("neither text nor html is there to send")
    for file in files_of(settings.attachments, context.base_folder, connection.downloads, files):
        attach(message, file)
    size = len(message.as_bytes())
    if size > MOST_BYTES:
        raise Reject(f"the mail is larger than 10 MiB ({size} bytes)")
    everybody = dict.fromkeys(address.addr_spec for address in (*to, *cc, *bcc))
    return message, list(everybody)


def _add_headers(message: EmailMessage, settings: EmailSettings) -> None:
    if settings.list_unsubscribe:
        if (fault := unsubscribe_fault(settings.list_unsubscribe)) is not None:
            raise Reject(f"list_unsubscribe: {fault}")
        for name, value in unsubscribe_headers(settings.list_unsubscribe).items():
            message[name] = value
    for name, value in settings.headers.items():
        if (refused := header_fault(name, bool(settings.list_unsubscribe))) is not None:
            raise Reject(f"headers: {refused[0]}" + (f": {refused[1]}" if refused[1] else ""))
        if name.lower() == "auto-submitted":
            del message[name]
        message[name] = " ".join(value.split())


# -- what is known before any event ---------------------------------------------------------------------------------


def mail_faults(written: Mapping[str, Any], connection: SmtpConnection | None) -> Iterator[Fault]:
    """Values of `with` that can never be sent; each template in it is an Unrendered."""
    for name in ("from", "to", "cc", "bcc", "reply_to"):
        yield from _address_faults(name, written.get(name))
    locale = written.get("locale")
    if isinstance(locale, str) and not re.fullmatch(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*", locale):
        yield Fault(("locale",), f"{quoted(locale, 40)!r} is no locale", "write de_DE, or de")
    nobody = [written.get(name) or [] for name in ("to", "cc", "bcc")]
    if nobody == [[], [], []]:
        yield Fault(("to",), "there is nobody to send to", "give an address in to, cc or bcc")
    unsubscribe = written.get("list_unsubscribe")
    for name in written.get("headers") or ():
        if (refused := header_fault(str(name), unsubscribe is not None)) is not None:
            yield Fault(("headers", name), *refused, is_of_key=True)
    uris = [uri for uri in (unsubscribe if isinstance(unsubscribe, list) else [unsubscribe]) if isinstance(uri, str)]
    if (fault := unsubscribe_fault(uris)) is not None:
        yield Fault(("list_unsubscribe",), fault, "write https://..., mailto:..., or both in a list")
    downloads = None if connection is None else connection.downloads
    yield from attachment_faults(written.get("attachments"), downloads, connection is not None)


def _address_faults(name: str, value: Any) -> Iterable[Fault]:
    texts = enumerate(value) if isinstance(value, list) else [(None, value)]
    for place, text in texts:
        at = (name,) if place is None else (name, place)
        if isinstance(text, int):
            text = str(text)  # as the model takes it
        if not isinstance(text, str):
            continue
        try:
            addresses = mail_addresses(text)
        except ValueError as error:
            is_name_with_comma = re.match(r'\s*[^"<>@,]+,[^"<>@]*<[^<>]+>\s*$', text)
            fix = "put the name in quotes, within quotes of YAML: '\"Acme, Inc.\" <orders@acme.example>'"
            yield Fault(at, str(error), fix if is_name_with_comma else "write it as Acme <orders@acme.example>")
            continue
        if name == "from" and len(addresses) != 1:
            yield Fault(at, "exactly one sender is needed", "write it as Acme <orders@acme.example>")
