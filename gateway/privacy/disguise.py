"""Pure: an event without what tells whom it is about, in the same shape, so that every template still renders.

Each e-mail address, name, telephone number and postal address becomes an example of its kind, the same one wherever it
stands. What the account redacts becomes `[redacted]`, a number 0. Ids, amounts, times and countries stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from gateway.core.masking import Masker
from gateway.privacy.redaction import REDACTED, RedactedPath, paths_below

_EMAIL = re.compile(r"""[^\s@<>()\[\]{},:;"']+@[\w-]+(?:\.[\w-]+)+""")
_THINGS = frozenset(
    ("coupon", "entitlements.feature", "plan", "price", "product", "promotion_code", "shipping_rate", "tax_rate")
)
"""Objects whose name is no person's."""
_KINDS = {
    **dict.fromkeys(
        ("name", "customer_name", "account_name", "first_name", "last_name", "maiden_name", "full_name",
         "business_name", "individual_name", "account_holder_name", "cardholder_name", "recipient"), "name"
    ),
    **dict.fromkeys(("email", "customer_email", "receipt_email", "support_email"), "e-mail address"),
    **dict.fromkeys(("phone", "customer_phone", "support_phone", "phone_number"), "telephone number"),
    **dict.fromkeys(("line1", "line2", "city", "postal_code", "town", "address_line1", "address_line2", "address_city",
                     "address_zip", "address_postal_code"), "address"),
    **dict.fromkeys(("ip", "ip_address", "client_ip"), "IP address"),
    **dict.fromkeys(("last4", "dynamic_last4", "fingerprint", "iban", "account_number", "routing_number", "id_number",
                     "ssn_last_4", "tax_id", "vat_id"), "number of an account or a person"),
    **dict.fromkeys(("client_secret",), "secret"),
}  # fmt: skip
_EXAMPLES: Mapping[str, Callable[[int], str]] = {
    "e-mail address": lambda number: f"person-{number}@example.com",
    "name": lambda number: f"Person {number}",
    "telephone number": lambda number: f"+1555555{number:04d}",
    "address": lambda number: f"Example {number}",
    "IP address": lambda number: f"192.0.2.{number % 256}",
    "number of an account or a person": lambda number: f"{number:04d}",
    "secret": lambda number: f"secret-{number}",
    "URL": lambda number: f"/masked-{number}",
    "text of a customer": lambda number: f"Text {number}",
}
_BORN = {"day": 1, "month": 1, "year": 1901}  # Stripe's own example of a date of birth
_EVERYWHERE = frozenset(("e-mail address", "name", "telephone number", "text of a customer"))
"""Kinds whose texts are looked for in all others: a city may be a word."""


class Disguise:
    """One event's. What it hides in one value it knows in the next: what was rendered, an answer, an error."""

    def __init__(self, paths: Sequence[RedactedPath]) -> None:
        self._paths = paths
        self._instead: dict[tuple[str, str], str] = {}  # by kind and text
        self.count: dict[str, int] = {}  # of what was hidden, by kind

    def event(self, envelope: Mapping[str, Any]) -> dict[str, Any]:
        """The event as it may be kept beside tests."""
        whole = {
            key: self._value(value, key, envelope, "", _below(self._paths, key)) for key, value in envelope.items()
        }
        masked: dict[str, Any] = self.other(whole)
        return masked

    def other(self, value: Any) -> Any:
        """What was made of the event, without what is hidden in it."""
        known = {
            text: shown for (kind, text), shown in self._instead.items() if kind in _EVERYWHERE or kind == REDACTED
        }
        return self._emails(Masker(known).mask(value))

    def _value(
        self, value: Any, key: str, holder: Mapping[str, Any], around: str, paths: Sequence[RedactedPath]
    ) -> Any:
        """A field's value; `around` is the key that its holder stands under."""
        if isinstance(value, Mapping):
            if key == "dob":
                return {name: None if part is None else _BORN.get(name, part) for name, part in value.items()}
            return {name: self._value(part, name, value, key, _below(paths, name)) for name, part in value.items()}
        if isinstance(value, list):
            inside = [*paths, *_below(paths, None)]
            return [self._value(item, key, holder, around, inside) for item in value]
        is_redacted = any(not path for path in paths)
        if isinstance(value, str) and value:
            return self._text(value, key, holder, around, is_redacted)
        return (
            self._number(value)
            if is_redacted and isinstance(value, (int, float)) and not isinstance(value, bool)
            else value
        )

    def _number(self, value: float) -> int:
        self._instead.setdefault((REDACTED, str(value)), "0")
        self.count[REDACTED] = self.count.get(REDACTED, 0) + 1
        return 0

    def _text(self, text: str, key: str, holder: Mapping[str, Any], around: str, is_redacted: bool) -> str:
        if _EMAIL.fullmatch(text):
            return self._example("e-mail address", text)
        if is_redacted:
            self.count[REDACTED] = self.count.get(REDACTED, 0) + 1
            return self._instead.setdefault((REDACTED, text), REDACTED)
        kind = _kind(key, holder, around)
        if kind is not None:
            return self._example(kind, text)
        if text.startswith(("http://", "https://")) and _leads_on(parts := urlsplit(text)):
            return f"{parts.scheme}://{parts.hostname or ''}{self._example('URL', text)}"
        return text

    def _example(self, kind: str, text: str) -> str:
        known = self._instead.get((kind, text))
        if known is None:
            self.count[kind] = self.count.get(kind, 0) + 1
            known = self._instead[kind, text] = _EXAMPLES[kind](self.count[kind])
        return known

    def _emails(self, value: Any) -> Any:
        """E-mail addresses that stand in other texts."""
        if isinstance(value, Mapping):
            return {key: self._emails(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._emails(item) for item in value]
        if not isinstance(value, str) or "@" not in value:
            return value
        return _EMAIL.sub(
            lambda match: match[0] if match[0].endswith("@example.com") else self._example("e-mail address", match[0]),
            value,
        )


def _leads_on(parts: SplitResult) -> bool:
    """Whether a URL says more than whose it is."""
    return bool(parts.path.strip("/") or parts.query or parts.fragment)


def _kind(key: str, holder: Mapping[str, Any], around: str) -> str | None:
    """What a field says of a person, if anything."""
    plain = key.removesuffix("_kana").removesuffix("_kanji")
    if plain == "name" and holder.get("object") in _THINGS:
        return None
    if key == "state" and ("postal_code" in holder or "line1" in holder):
        return "address"
    if key == "value" and around in ("customer_tax_ids", "tax_ids", "text"):
        return "text of a customer"
    if key == "value" and around == "numeric":
        return "number of an account or a person"
    return _KINDS.get(plain)


def _below(paths: Sequence[RedactedPath], name: str | None) -> list[RedactedPath]:
    """The paths below a field, or below an item of a list: all that a path leads to is hidden."""
    return [()] if any(not path for path in paths) else paths_below(paths, name)
