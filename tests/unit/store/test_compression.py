"""What is compressed comes back byte for byte, and what cannot says which row it is and what to do."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.errors import StoreDamaged
from gateway.store.encoding import compression
from gateway.store.encoding.codec import BodyCodec
from gateway.store.encoding.compression import AS_IT_IS, BODIES, MARK, VALUES, pack, unpack
from gateway.store.encryption.keyring import Keyring
from gateway.stripe.event_types import snapshot_types
from gateway.testing import make_event
from tests.docs import dictionary

KEY = base64.b64encode(bytes(range(32))).decode()
ROW = ("event", "acme", "evt_1")
KEPT_FOR_EVER = {  # a dictionary's number: the first digits of its file's hash, and what it once compressed
    1: ("30dbfd59c2095ccc", "00677a0128b52ffd2457c50000286964220a7d057c000b33c2384372055948fde754cffa1958b1b1cc"),
    2: (
        "fc929c5da6a4574e",
        "00677a0228b52ffd24577d0100c07b0a206576745f31222c0a206576656e7470616964220a7d07fc5359ea29501ea098542b22f9b7f55b9d0c255f2158b1b1cc",
    ),
}
PLAIN = json.dumps({"id": "evt_1", "object": "event", "livemode": False, "type": "invoice.paid"}, indent=2).encode()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["zstd", "encrypted"]), inner),
)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy


@pytest.mark.parametrize("number", KEPT_FOR_EVER)
def test_an_old_dictionary_stays_what_it_was_and_reads_what_it_once_wrote(number: int) -> None:
    digest, once_written = KEPT_FOR_EVER[number]
    file = dictionary.FOLDER / compression.dictionary_name(number)
    assert hashlib.sha256(file.read_bytes()).hexdigest().startswith(digest)
    assert unpack(bytes.fromhex(once_written)) == PLAIN


def test_every_dictionary_has_a_line_here() -> None:
    assert sorted(KEPT_FOR_EVER) == sorted(int(path.stem) for path in dictionary.FOLDER.glob("*"))
    assert {BODIES, VALUES} <= KEPT_FOR_EVER.keys()


def test_the_samples_of_a_dictionary_are_of_every_type_and_scenario() -> None:
    kinds = {event["type"] for event in islice(dictionary.samples(), 900)}
    assert kinds == set(snapshot_types())
    assert all(dictionary.body(event).startswith(b'{\n  "id": "evt_1') for event in islice(dictionary.samples(), 3))


@pytest.mark.parametrize("event_type", ["checkout.session.completed", "customer.subscription.updated", "invoice.paid"])
def test_a_body_takes_less_than_a_sixth(event_type: str) -> None:
    event = make_event(event_type)
    body = json.dumps({**event, "data": dictionary.as_stripe_prints(event["data"])}, indent=2).encode()
    assert len(pack(body, BODIES)) < len(body) / 6


@UNHURRIED
@given(st.binary() | st.binary().map(lambda body: MARK + body), st.sampled_from([AS_IT_IS, BODIES, VALUES]))
def test_any_bytes_come_back_as_they_were(plain: bytes, number: int) -> None:
    for bytes_ in (plain, plain * 50):
        assert unpack(pack(bytes_, number)) == bytes_


def codecs() -> list[BodyCodec]:
    return [BodyCodec(Keyring(keys), compresses=compresses) for keys in ([], [KEY]) for compresses in (False, True)]


@UNHURRIED
@given(JSON)
def test_any_value_comes_back_as_it_was_also_one_that_looks_like_ours(value: Any) -> None:
    lookalike = {"zstd": base64.b64encode(pack(json.dumps(value).encode(), BODIES, marks=True)).decode()}
    for codec in codecs():
        for given_value in (value, {"long": [value] * 20}, lookalike):
            text = codec.encode_text(json.dumps(given_value), *ROW)
            assert codec.decode_value(json.loads(text), *ROW) == given_value
            assert codec.decode_value(codec.encode_object(given_value, *ROW), *ROW) == given_value


def test_a_form_is_renewed_without_a_change_of_what_it_says() -> None:
    plain, sealing = BodyCodec(Keyring([]), compresses=False), BodyCodec(Keyring([KEY]), compresses=False)
    body, text = PLAIN * 3, json.dumps({"said": "thank you " * 20})
    for old in (plain, sealing):
        new = BodyCodec(old.keyring, compresses=True)
        kept, kept_text = old.encode(body, *ROW), old.encode_text(text, *ROW)
        assert old.renew(kept, *ROW) == kept
        renewed, renewed_text = new.renew(kept, *ROW), new.renew_text(kept_text, *ROW)
        assert len(renewed) < len(kept) / 2
        assert len(renewed_text) < len(kept_text)
        assert (new.renew(renewed, *ROW), new.renew_text(renewed_text, *ROW)) == (renewed, renewed_text)
        assert old.decode(renewed, *ROW) == body
        assert old.decode_value(json.loads(renewed_text), *ROW) == json.loads(text)


def test_a_dictionary_that_is_not_there_is_told_with_the_row_and_what_to_do() -> None:
    with pytest.raises(StoreDamaged) as told:
        unpack(MARK + bytes((250,)) + b"...", *ROW)
    assert str(told.value) == (
        "what is stored of event acme evt_1 is compressed with dictionary 250, which this program lacks: a newer "
        "gateway wrote it (install that one), or it is damaged (restore it from a backup)"
    )


def test_what_is_damaged_is_never_taken_for_another_body() -> None:
    body = PLAIN * 5
    packed = pack(body, BODIES)
    for place in range(len(MARK) + 1, len(packed)):
        damaged = packed[:place] + bytes((packed[place] ^ 0x10,)) + packed[place + 1 :]
        with contextlib.suppress(StoreDamaged):
            assert unpack(damaged) == body, "of the frame's head one bit means nothing"
        for cut_or_longer in (packed[:place], damaged + b"x"):
            with pytest.raises(
                StoreDamaged, match="of event acme evt_1 does not decompress: it is damaged; restore it"
            ):
                unpack(cut_or_longer, *ROW)


def test_nothing_grows_beyond_the_length_that_it_says() -> None:
    frame = pack(b"0" * 1_000_000, BODIES)[len(MARK) + 1 :]
    assert frame[4] == 0xA4, "a length of four bytes stands after the magic number and this one"
    lying = MARK + bytes((BODIES,)) + frame[:5] + (1000).to_bytes(4, "little") + frame[9:]
    with pytest.raises(StoreDamaged, match="it is damaged; restore it from a backup"):
        unpack(lying, *ROW)
