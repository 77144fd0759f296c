"""Headers of a mail that `with` brings: which may be, and how they are folded, as mail programs read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.headerregistry import BaseHeader, HeaderRegistry, UnstructuredHeader
from email.policy import EmailPolicy, Policy

from gateway.plugin import quoted

_LONGEST_LINE = 998  # RFC 5322, section 2.1.1
_KEYS = {"from": "from", "to": "to", "cc": "cc", "bcc": "bcc", "subject": "subject", "reply-to": "reply_to"}
_OTHERS = {
    "sender": "mails are sent in the name of `from`, on the envelope too: put the address there",
    "return-path": "mails that come back go to `from`: put the address there",
    "date": "it is the attempt's time",
    "message-id": "it is made of the delivery's id, the same at every attempt",
    "mime-version": "it comes of text, html and attachments",
    "received": "mail servers add it",
}


class _PlainHeader(UnstructuredHeader, BaseHeader):
    """A header that the standard library has no class for, such as List-Unsubscribe. It would take each for prose and
    make an encoded word of a token longer than a line, which nobody decodes where URLs or identifiers stand. This one
    is folded at blanks only, as long as it is ASCII and no line is too long.
    """

    def fold(self, *, policy: Policy) -> str:
        """The header as it is sent, with its line ends."""
        lines = [f"{self.name}:"]
        for place, word in enumerate(self.split()):
            if place > 0 and len(lines[-1]) + 1 + len(word) > (policy.max_line_length or _LONGEST_LINE):
                lines.append("")
            lines[-1] += f" {word}"
        if not self.isascii() or any(len(line) > _LONGEST_LINE for line in lines):
            return super().fold(policy=policy)
        return policy.linesep.join(lines) + policy.linesep


MAIL_POLICY = EmailPolicy(header_factory=HeaderRegistry(default_class=_PlainHeader))
"""For the message of a mail: headers keep their way of folding, whatever policy sends them."""


def header_fault(name: str, has_list_unsubscribe: bool) -> tuple[str, str] | None:
    """Why a header may not be set by `headers`, and what to do instead; None where it may."""
    lower = name.lower()
    text = f"{quoted(name, 40)!r} may not be set here"
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        return text, "a header's name has letters, digits and -"
    if lower in _KEYS:
        return text, f"give {_KEYS[lower]}"
    if lower.startswith("content-"):
        return text, "it comes of text, html and attachments"
    if lower.startswith("resent-"):
        return text, "it says that somebody passed the mail on"
    if has_list_unsubscribe and lower.startswith("list-unsubscribe"):
        return text, "list_unsubscribe sets it: leave one of the two out"
    return (text, _OTHERS[lower]) if lower in _OTHERS else None


def unsubscribe_fault(uris: Sequence[str]) -> str | None:
    """What is wrong with the addresses of List-Unsubscribe; None where nothing is."""
    for uri in uris:
        if not re.fullmatch(r"(https://[^/@?#]+|mailto:[^@?]+@)[!-~]+", uri) or re.search("[<>,]", uri):
            return f"{quoted(uri, 100)!r} is no https:// URL and no mailto: address"
    if len({uri.partition(":")[0] for uri in uris}) < len(uris):
        return "one https:// URL and one mailto: address are enough"
    return None


def unsubscribe_headers(uris: Sequence[str]) -> dict[str, str]:
    """List-Unsubscribe (RFC 2369), and where there is a URL, what lets mail programs post to it (RFC 8058)."""
    headers = {"List-Unsubscribe": ", ".join(f"<{uri}>" for uri in uris)}
    if any(uri.startswith("https:") for uri in uris):
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return headers
