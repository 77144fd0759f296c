"""Headers of a mail that `with` brings, folded as mail programs read them."""

from __future__ import annotations

from email.headerregistry import BaseHeader, HeaderRegistry, UnstructuredHeader
from email.policy import EmailPolicy, Policy

_LONGEST_LINE = 998  # RFC 5322, section 2.1.1


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
