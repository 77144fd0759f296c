"""The keys of store.encrypt."""

from __future__ import annotations

import base64

import pytest

from gateway.core.errors import StoreDamaged, StoreKeyMissing
from gateway.store.encryption.keyring import Keyring, decode_key, key_id

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(32)).decode()


def test_what_is_sealed_opens_where_it_belongs() -> None:
    ring = Keyring([KEY])
    sealed = ring.seal(b"a body", "event", "acme", "evt_1")
    assert b"a body" not in sealed
    assert ring.open(sealed, "event", "acme", "evt_1") == b"a body"


@pytest.mark.parametrize("elsewhere", [("event", "acme", "evt_2"), ("event", "other", "evt_1"), ("event", "acmeevt_1")])
def test_what_is_copied_elsewhere_does_not_open(elsewhere: tuple[str, ...]) -> None:
    ring = Keyring([KEY])
    sealed = ring.seal(b"a body", "event", "acme", "evt_1")
    with pytest.raises(StoreDamaged, match="it is damaged, or was copied there from elsewhere"):
        ring.open(sealed, *elsewhere)


def test_two_values_that_are_equal_are_sealed_differently() -> None:
    ring = Keyring([KEY])
    assert ring.seal(b"a body", "x") != ring.seal(b"a body", "x")


def test_what_was_never_sealed_is_given_back_though_it_begins_alike() -> None:
    ring = Keyring([KEY])
    for clear in (b"", b"{}", b"\x00gw1", b"\x00gw1" + b"attacker" * 20):
        assert ring.open(clear, "x") == clear
        assert not ring.is_sealed(clear)


def test_all_keys_open_and_the_first_seals() -> None:
    sealed = Keyring([OTHER]).seal(b"old", "x")
    ring = Keyring([KEY, OTHER])
    assert ring.open(sealed, "x") == b"old"
    assert not ring.is_current(sealed)
    assert ring.is_current(ring.seal(b"new", "x"))


def test_a_missing_key_is_named_with_what_to_do() -> None:
    sealed = Keyring([OTHER]).seal(b"old", "x")
    ring = Keyring([KEY])
    ring.note_used([key_id(decode_key(OTHER)).hex()])
    expected = (
        f"bodies in this store are encrypted with key {key_id(decode_key(OTHER)).hex()}, and the keys given are "
        f"{ring.ids[0]}: name it in store.encrypt, after the one that is to encrypt; it may be left out once "
        "`gateway db encrypt` has gone through all bodies"
    )
    with pytest.raises(StoreKeyMissing) as told:
        ring.open(sealed, "x")
    assert str(told.value) == expected
    with pytest.raises(StoreKeyMissing):
        ring.refuse_unopened()


def test_without_a_key_nothing_is_sealed_in_clear() -> None:
    with pytest.raises(StoreKeyMissing, match=r"store\.encrypt names no key to encrypt another one with"):
        Keyring([]).seal(b"a body", "x")


@pytest.mark.parametrize("text", ["short", "", "not base64 !!", base64.b64encode(bytes(31)).decode(), KEY + KEY])
def test_what_is_no_key_is_refused_and_not_told(text: str) -> None:
    with pytest.raises(ValueError, match="expected 32 random bytes in base64") as told:
        decode_key(text)
    assert not text or text not in str(told.value)
