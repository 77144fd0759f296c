"""Mail addresses as people write them: `Acme <orders@acme.example>`, several with commas between (RFC 5322, 3.4)."""

from __future__ import annotations

import re
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import getaddresses

from gateway.plugin.quoting import quoted

_ADDRESS_AS_NAME = re.compile(r'(^|,)\s*([^",<>]*@[^",<>]*?)\s*<')
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Za-z.:]+\]")


def mail_addresses(text: str) -> list[Address]:
    """The addresses in a text, their domains by IDNA of 2008. Raises ValueError, which shows the text."""
    if any(character in text for character in "\r\n\0"):
        raise ValueError("an address may hold no line break")
    addresses = []
    for name, spec in getaddresses([_ADDRESS_AS_NAME.sub(r'\1 "\2" <', text)]):
        local, _, domain = spec.rpartition("@")
        try:
            if not local or re.search(r"\s", spec):
                raise ValueError
            addresses.append(Address(name, local, ascii_host(domain)))
        except (MessageError, ValueError, IndexError):
            raise ValueError(f"{quoted(text, 100)!r} is no mail address") from None
    return addresses


def ascii_host(domain: str) -> str:
    """A domain as DNS and SMTP have it, by IDNA of 2008, as browsers and mail programs read it. Raises ValueError where
    it is none.
    """
    if not domain.isascii():
        import idna  # not the codec of that name, which is of 2003 and makes another domain of ß

        return idna.encode(domain, uts46=True).decode()
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{quoted(domain, 100)!r} is no domain")
    return domain


def address_literal(address: str) -> str:
    """An IP address as SMTP has it in the place of a domain (RFC 5321, section 4.1.3)."""
    plain = address.partition("%")[0]
    return f"[IPv6:{plain}]" if ":" in plain else f"[{plain}]"
