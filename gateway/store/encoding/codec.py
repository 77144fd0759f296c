"""How a store keeps bodies and values: compressed first, then sealed; and back, whatever form a row has.

Values are JSON, and stay JSON: `{"zstd": ...}` is a compressed one, `{"encrypted": ...}` a sealed one, in base64.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

from gateway.store.encoding import compression
from gateway.store.encryption.keyring import Keyring
from gateway.store.keeping import KeptText, kept_json

_SEALED = "encrypted"
_PACKED = "zstd"
_PACKED_BEGINS = f'{{"{_PACKED}": '  # as json.dumps writes it
_LEAST_CHARACTERS = 128  # of a value: base64 and what names it outweigh what is saved below, or nearly


class BodyCodec:
    """Encodes what is to be kept, and decodes it. `belongs_to` names the row: in errors, and to what is sealed.
    `reseals` false: what is renewed stays sealed with its key, or unsealed.
    """

    def __init__(self, keyring: Keyring, *, compresses: bool, reseals: bool = True) -> None:
        self.keyring = keyring
        self.compresses = compresses
        self.reseals = reseals

    def encode(self, plain: bytes, *belongs_to: str) -> bytes:
        """Raises StoreKeyMissing."""
        return self._seal(compression.pack(plain, self._number_of(compression.BODIES)), *belongs_to)

    def decode(self, kept: bytes, *belongs_to: str) -> bytes:
        """The bytes as they were given. Raises StoreKeyMissing, StoreDamaged."""
        return compression.unpack(self.keyring.open(kept, *belongs_to), *belongs_to)

    def renew(self, kept: bytes, *belongs_to: str, number: int = compression.BODIES) -> bytes:
        """The same bytes as they would be kept now, with that dictionary; themselves where nothing is to be changed of
        their form.
        """
        packed = self.keyring.open(kept, *belongs_to)
        if not self.compresses or compression.packed_with(packed) == number:
            renewed = packed
        else:
            renewed = compression.pack(compression.unpack(packed, *belongs_to), number)
        if renewed == packed and (self.keyring.is_current(kept) or not self.keyring.ids or not self.reseals):
            return kept
        return self._seal(renewed, *belongs_to) if self.reseals else self.keyring.seal_like(kept, renewed, *belongs_to)

    def _number_of(self, newest: int) -> int:
        return newest if self.compresses else compression.AS_IT_IS

    def _seal(self, packed: bytes, *belongs_to: str) -> bytes:
        return self.keyring.seal(packed, *belongs_to) if self.keyring.used else packed

    # -- values that are kept as JSON -------------------------------------------------------------------------

    def encode_value(self, value: Any, *belongs_to: str) -> KeptText | None:
        """A value as the store is to keep it: cut first where it is too large."""
        text = kept_json(value)
        return None if text is None else self.encode_text(text, *belongs_to)

    def encode_text(self, text: str, *belongs_to: str) -> KeptText:
        """JSON, as the JSON that is to be kept."""
        reads_as_ours = text.startswith(_PACKED_BEGINS)
        if len(text) < _LEAST_CHARACTERS and not reads_as_ours and not self.keyring.used:
            return text if isinstance(text, KeptText) else KeptText(text)
        plain = text.encode("utf-8", "surrogatepass")
        packed = compression.pack(plain, self._number_of(compression.VALUES), marks=reads_as_ours)
        if self.keyring.used:
            return self._text_of(self.keyring.seal(packed, *belongs_to))
        if packed is plain:
            return KeptText(text)
        encoded = self._text_of(packed)
        return encoded if reads_as_ours or len(encoded) < len(plain) else KeptText(text)

    def encode_object(self, value: Any, *belongs_to: str) -> Any:
        """The same as plain data."""
        text = json.dumps(value)
        encoded = self.encode_text(text, *belongs_to)
        return value if encoded == text else json.loads(encoded)

    def decode_value(self, value: Any, *belongs_to: str) -> Any:
        """The value as it was given. Raises StoreKeyMissing, StoreDamaged."""
        kept = self._kept_in(value)
        return value if kept is None else json.loads(self.decode(kept, *belongs_to).decode("utf-8", "surrogatepass"))

    def renew_text(self, text: str, *belongs_to: str) -> str:
        """The JSON of a value as it would be kept now; itself where nothing is to be changed of its form."""
        kept = self._kept_in(json.loads(text))
        if kept is None:
            codec = self if self.reseals else BodyCodec(Keyring(()), compresses=self.compresses)
            return codec.encode_text(text, *belongs_to)
        renewed = self.renew(kept, *belongs_to, number=compression.VALUES)
        return text if renewed == kept else self._text_of(renewed)

    def _text_of(self, kept: bytes) -> KeptText:
        name = _SEALED if self.keyring.is_sealed(kept) else _PACKED
        return KeptText(f'{{"{name}": "{base64.b64encode(kept).decode()}"}}')  # as json.dumps writes it

    def _kept_in(self, value: Any) -> bytes | None:
        """What is sealed or compressed in a value that was kept; None where it is as it was given."""
        if not isinstance(value, dict) or len(value) != 1:
            return None
        kept = _decoded(value.get(_SEALED), self.keyring.is_sealed)
        return kept if kept is not None else _decoded(value.get(_PACKED), compression.is_packed)


def _decoded(text: Any, is_ours: Callable[[bytes], bool]) -> bytes | None:
    if not isinstance(text, str):
        return None
    try:
        kept = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return kept if is_ours(kept) else None


def bound_to(what: str, account: str, event_id: str, action: str) -> tuple[str, ...]:
    """What a delivery's value is sealed with."""
    return (what, account, event_id, action)
