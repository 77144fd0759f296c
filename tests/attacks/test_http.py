"""Attacks on the public listener of a running gateway: smuggling, tricks with bodies, headers and paths.

tests/integration/test_listener.py sends the listener what is malformed or too large, byte by byte.
"""

from __future__ import annotations

import gzip
import json
import select
import socket

import psutil
import pytest

from gateway.testing import make_event
from tests.attacks.conftest import Target, request, statuses
from tests.waiting import HANG_SECONDS

pytestmark = pytest.mark.xdist_group("attacks-http")  # one worker, so one gateway

CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = request()


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(request(b"0\r\n\r\n", length=b"Content-Length: 5\r\n" + CHUNKED), id="CL.TE"),
        pytest.param(request(b"0\r\n\r\n", length=CHUNKED + b"Content-Length: 5\r\n"), id="TE.CL"),
        pytest.param(request(b"0\r\n\r\n", length=CHUNKED + b"Transfer-Encoding: identity\r\n"), id="TE.TE"),
        pytest.param(request(b"0\r\n\r\n", length=b"Transfer-Encoding: chunked, identity\r\n"), id="TE-list"),
        pytest.param(request(b"0\r\n\r\n", length=b"Transfer-Encoding: xchunked\r\n"), id="TE-unknown"),
        pytest.param(request(b"0\r\n\r\n", length=b"Transfer-Encoding : chunked\r\n"), id="TE-space"),
        pytest.param(request(b"0\r\n\r\n", length=b"Transfer-Encoding:\r\n chunked\r\n"), id="TE-folded"),
        pytest.param(request(b"abcde", length=b"Content-Length: 5\r\nContent-Length: 0\r\n"), id="two-lengths"),
        pytest.param(request(b"abcde", length=b"Content-Length: 5, 0\r\n"), id="length-list"),
        pytest.param(request(b"abcde", length=b"Content-Length: +5\r\n"), id="length-plus"),
        pytest.param(request(b"abcde", length=b"Content-Length: 0x5\r\n"), id="length-hex"),
        pytest.param(request(b"abcde", length=b"Content-Length: 5\r\n", more=b"X: a\r\n b\r\n"), id="obs-fold"),
        pytest.param(request(b"abcde", length=b"Content-Length: 5\n"), id="bare-LF"),
        pytest.param(request(b"abcde", more=b"X: a\rContent-Length: 0\r\n"), id="bare-CR"),
        pytest.param(request(b"abcde", more=b"X: a\0b\r\n"), id="NUL"),
        pytest.param(request(b"5;\nabcde\r\n0\r\n\r\n", length=CHUNKED), id="chunk-extension-LF"),
        pytest.param(request(b"fffffffffffffffff0\r\n", length=CHUNKED), id="chunk-size-overflow"),
        pytest.param(request(b"-1\r\n\r\n", length=CHUNKED), id="chunk-size-negative"),
    ],
)
def test_a_request_of_doubtful_length_is_the_last_of_its_connection(target: Target, first: bytes) -> None:
    """So that no proxy in front and the gateway can disagree on where the next request begins."""
    before = target.count()
    answered = statuses(target.talk(first + SMUGGLED))
    assert answered in ([400], [401])
    assert target.count() == before
    assert statuses(target.talk(request())) == [200]


def test_pipelined_events_are_each_answered_and_kept(target: Target) -> None:
    before = target.count()
    assert statuses(target.talk(b"".join(request() for _ in range(50)))) == [200] * 50
    assert target.count() == before + 50


def test_a_compressed_body_is_never_unpacked(target: Target) -> None:
    """Stripe sends none; one that is signed as it stands is no event, whatever it would become."""
    bomb = gzip.compress(b"0" * 50_000_000)
    packed = gzip.compress(json.dumps(make_event()).encode())
    before = target.count()
    for body in (bomb, packed):
        assert statuses(target.talk(request(body, more=b"Content-Encoding: gzip\r\n"))) == [400]
    assert target.count() == before


def test_what_a_header_says_ends_no_line_of_the_answer_or_the_log(target: Target) -> None:
    evil = b"X-Request-Id: a\\r\\nSet-Cookie: x=1\r\nStripe-Signature: t=1,v1=\xff\xfe\r\n"
    before = target.process.log.read_text()
    answer = target.talk(b"POST /webhooks/acme HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + evil + b"\r\n{}")
    assert statuses(answer) == [401]
    assert b"Set-Cookie" not in answer
    for line in target.process.log.read_text().removeprefix(before).splitlines():
        assert isinstance(json.loads(line), dict)
        assert "\x1b" not in line


@pytest.mark.parametrize(
    "path",
    [
        "//webhooks/acme",
        "/webhooks//acme",
        "/webhooks/acme/",
        "/webhooks/./acme",
        "/webhooks/x/../acme",
        "/webhooks/%61cme",
        "/webhooks%2facme",
        "/webhooks/acme%00",
        "/webhooks/acme;/x",
        "/webhooks/..;/api/v1/events",
        "/%2e%2e/webhooks/acme",
        "/webhooks/../../../../etc/passwd",
        "/Webhooks/acme",
        "/webhooksacme",
        "/webhooks/" + "a" * 7000,
        "/api/v1/events",
        "/metrics",
        "/console",
        "*",
        "http://169.254.169.254/latest/meta-data",
    ],
)
def test_a_path_is_taken_to_the_letter(target: Target, path: str) -> None:
    before = target.count()
    assert statuses(target.talk(request(path=path))) == [404]
    assert target.count() == before


def test_refusals_tell_which_accounts_exist_and_nothing_more(target: Target) -> None:
    """An account's name stands in its URL and is no secret: it is told from an unknown one. Why a signature was refused
    is not, and POST /webhooks tells nothing of accounts at all.
    """

    def said(sent: bytes) -> bytes:
        return target.talk(sent).partition(b"\r\n\r\n")[2]

    unsigned = b"POST /webhooks/acme HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    refused = {
        said(request(secret="whsec_wrong")),
        said(request(timestamp=1_600_000_000)),
        said(unsigned),
        said(unsigned.replace(b"Content-Length", b"Stripe-Signature: nonsense\r\nContent-Length")),
        said(request(path="/webhooks", secret="whsec_wrong")),
    }
    assert refused == {b'{"error": {"code": "bad_signature", "message": "The signature was not accepted."}}'}
    unknown = {said(request(path=f"/webhooks/{name}")) for name in ("nobody", "acme2", "ACME", "acm")}
    assert unknown == {b'{"error": {"code": "unknown_account", "message": "There is no such account."}}'}


def test_an_old_event_sent_again_does_nothing(target: Target) -> None:
    """What was listened to and is sent again: too old after `tolerance`, and a duplicate before."""
    body = json.dumps(make_event()).encode()
    sent = request(body)
    before = target.count()
    assert b'{"received": true}' in target.talk(sent)
    assert b'"duplicate": true' in target.talk(sent)
    assert statuses(target.talk(request(timestamp=1_600_000_000))) == [401]
    assert target.count() == before + 1


def test_a_signed_number_out_of_range_is_kept_for_a_person_to_see(target: Target) -> None:
    body = json.dumps(make_event(object={"amount_total": 7})).replace('"amount_total": 7', '"amount_total": 1e999')
    before = target.count()
    assert b'{"received": true}' in target.talk(request(body.encode()))
    assert target.count() == before + 1


def test_a_trailer_without_end_is_refused_after_little_more_of_it(target: Target) -> None:
    """Of one unsigned connection; also the lines of chunks may say anything after a semicolon."""
    gateway = psutil.Process(target.process.pid)
    for endless in (b"0\r\nX: ", b"0\r\nX: a\r\nY: ", b"1;"):
        before = sum(gateway.cpu_times()[:2])
        with socket.create_connection(("127.0.0.1", target.port), timeout=HANG_SECONDS) as connection:
            connection.sendall(b"POST /webhooks/acme HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n1\r\n{\r\n" + endless)
            sent, readable = 0, False
            while not readable and sent < 64 * 1024 * 1024:
                connection.sendall(b"a" * 1024)
                sent += 1024
                readable = bool(select.select([connection], [], [], 0.1 if sent > 8192 else 0)[0])
            assert statuses(connection.recv(65536)) == [400]
        assert sent <= 16 * 1024
        assert sum(gateway.cpu_times()[:2]) - before < 0.1


def test_a_trailer_is_no_header_of_the_next_request(target: Target) -> None:
    """aiohttp's parser would take it for one: no request is answered after one that came in chunks."""
    body = json.dumps(make_event()).encode()
    chunked = request(b"%x\r\n%s\r\n0\r\nStripe-Signature: t=1,v1=forged\r\n\r\n" % (len(body), body), length=CHUNKED)
    answered = target.talk(chunked + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert statuses(answered) == [401]
    assert b"Connection: close" in answered
