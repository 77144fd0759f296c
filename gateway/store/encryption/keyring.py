"""The keys of `store.encrypt`: what seals bodies before they are stored, and opens them again.

AES-256-GCM with a random 96-bit nonce for each value: https://doi.org/10.6028/NIST.SP.800-38D (8.2.2: up to 2^32 values
under one key). What a value belongs to (account and event, or its own id) is authenticated with it, so that a value
that somebody copies to another row does not open there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gateway.core.errors import StoreDamaged, StoreKeyMissing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
ADVICE = "32 random bytes in base64, as `openssl rand -base64 32` makes them"
_MARK = b"\x00gw1"  # no JSON begins so
_ID_BYTES = 4
_NONCE_BYTES = 12
_HEAD = len(_MARK) + _ID_BYTES + _NONCE_BYTES
_TAG_BYTES = 16


def decode_key(text: str) -> bytes:
    """The key that a setting holds. Raises ValueError, without the text."""
    try:
        key = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"expected {ADVICE}")
    return key


def key_id(key: bytes) -> bytes:
    """What names a key in what it sealed, and in messages: it tells nothing of the key."""
    return hashlib.sha256(b"gateway store.encrypt " + key).digest()[:_ID_BYTES]


class Keyring:
    """The keys given: the first seals, all open."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Raises ValueError where one is no key."""
        decoded = [decode_key(key) for key in keys]
        self.ids: tuple[str, ...] = tuple(key_id(key).hex() for key in decoded)
        self._ciphers: dict[bytes, AESGCM] = {}
        self.used: frozenset[str] = frozenset(self.ids)
        """The ids of all keys that ever sealed anything in this store: what bears another was not sealed."""
        if decoded:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # an extra

            self._ciphers = {key_id(key): AESGCM(key) for key in decoded}
            self._first = key_id(decoded[0])

    def note_used(self, ids: Iterable[str]) -> None:
        """Takes note of keys that sealed something in this store, given or not."""
        self.used = frozenset((*self.used, *ids))

    def seal(self, plain: bytes, *belongs_to: str) -> bytes:
        """The value, sealed with the first key. Raises StoreKeyMissing where there is none."""
        if not self._ciphers:
            raise StoreKeyMissing(
                "bodies in this store are encrypted, and store.encrypt names no key to encrypt another one with"
            )
        return self._sealed(self._first, plain, belongs_to)

    def seal_like(self, other: bytes, plain: bytes, *belongs_to: str) -> bytes:
        """The value, sealed with the key that sealed `other`; itself where that was never sealed."""
        sealed_by = self._sealed_by(other)
        return plain if sealed_by is None else self._sealed(sealed_by, plain, belongs_to)

    def _sealed(self, key: bytes, plain: bytes, belongs_to: Sequence[str]) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return b"".join((_MARK, key, nonce, self._ciphers[key].encrypt(nonce, plain, _bound(belongs_to))))

    def is_sealed(self, value: bytes) -> bool:
        """Whether a value was sealed, by any key that was ever used."""
        return self._sealed_by(value) is not None

    def is_current(self, value: bytes) -> bool:
        """Whether a value was sealed by the first key."""
        sealed_by = self._sealed_by(value)
        return sealed_by is not None and bool(self.ids) and sealed_by.hex() == self.ids[0]

    def open(self, value: bytes, *belongs_to: str) -> bytes:
        """The value as it was; itself where it was never sealed. Raises StoreKeyMissing, StoreDamaged."""
        sealed_by = self._sealed_by(value)
        if sealed_by is None:
            return value
        cipher = self._ciphers.get(sealed_by)
        if cipher is None:
            raise StoreKeyMissing(_missing([sealed_by.hex()], self.ids))
        from cryptography.exceptions import InvalidTag

        try:
            return cipher.decrypt(value[_HEAD - _NONCE_BYTES : _HEAD], value[_HEAD:], _bound(belongs_to))
        except InvalidTag:
            raise StoreDamaged(
                f"what is stored of {' '.join(belongs_to)} does not open with key {sealed_by.hex()}: it is damaged, or "
                "was copied there from elsewhere; restore it from a backup"
            ) from None

    def _sealed_by(self, value: bytes) -> bytes | None:
        if not value.startswith(_MARK) or len(value) < _HEAD + _TAG_BYTES:
            return None
        id_bytes = value[len(_MARK) : len(_MARK) + _ID_BYTES]
        return id_bytes if id_bytes.hex() in self.used else None

    def refuse_unopened(self) -> None:
        """Raises StoreKeyMissing where a key that was used is not given."""
        missing = sorted(self.used.difference(self.ids))
        if missing:
            raise StoreKeyMissing(_missing(missing, self.ids))


def _missing(missing: Sequence[str], known: Sequence[str]) -> str:
    have = f"the keys given are {', '.join(known)}" if known else "no key is given"
    return (
        f"bodies in this store are encrypted with key {', '.join(missing)}, and {have}: name it in store.encrypt, "
        "after the one that is to encrypt; it may be left out once `gateway db encrypt` has gone through all bodies"
    )


def _bound(belongs_to: Sequence[str]) -> bytes:
    """The parts as one text that no other parts make."""
    return "".join(f"{len(part)}:{part}" for part in belongs_to).encode("utf-8", "surrogatepass")
