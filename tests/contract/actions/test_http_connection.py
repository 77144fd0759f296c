"""What an http connection can be told: tokens, proxies, certificates, which answers are good; all on real parts."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import zlib
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from actions.http_forward import HttpForward
from gateway.config.load import load
from gateway.plugin import HttpConnection
from gateway.testing import Trial, TrialResult, make_event, probe_action, problems
from tests.certificates import self_signed, server_context
from tests.contract.actions.proxies import ForwardProxy, proxy, proxy_server, tls_proxy
from tests.contract.actions.servers import Service
from tests.http_service import Serve
from tests.waiting import until

__all__ = ["proxy", "proxy_server", "tls_proxy"]  # fixtures
SECRET = "client secret +1"


def written(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "http", "url": url, "allow_private": True, **more}


async def attempt(connection: dict[str, Any], base_folder: str = ".", **given: Any) -> TrialResult:
    """One delivery of an event with the id cs_1."""
    event = make_event(object={"id": "cs_1"})
    async with Trial(HttpForward(), given, connection=connection, event=event, base_folder=base_folder) as trial:
        return await trial.attempt()


# -- what is sent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "url", "path"),
    [
        ("v1/hooks", "/orders/{{ object.id }}", "/v1/hooks/orders/cs_1"),
        ("v1/hooks/", "orders", "/v1/hooks/orders"),
        ("v1/hooks?code=a%2Fb", "/orders", "/v1/hooks/orders?code=a%2Fb"),
        ("v1/hooks?code=a", "/orders?id={{ object.id }}", "/v1/hooks/orders?code=a&id=cs_1"),
        ("v1/hooks", "?id={{ object.id }}", "/v1/hooks?id=cs_1"),
        ("v1/hooks?code=a", None, "/v1/hooks?code=a"),
        ("v1/hooks?code=a", "WHOLE/orders", "/orders"),
    ],
)
async def test_an_actions_path_goes_on_from_the_connections(
    service: Service, base: str, url: str | None, path: str
) -> None:
    given = {} if url is None else {"url": url.replace("WHOLE/", service.url)}
    assert (await attempt(written(service.url + base), **given)).state == "succeeded"
    assert [request.raw_path for request, _ in service.requests] == [path]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_asks_or_deletes_sends_no_event(service: Service, method: str) -> None:
    await attempt(written(service.url), method=method, url="/orders/{{ object.id }}")
    ((request, body),) = service.requests
    assert (request.method, body, request.headers.get("Content-Type")) == (method, b"", None)


async def test_a_form_is_sent_as_browsers_send_it(service: Service) -> None:
    form = {"id": "{{ object.id }}", "n": "{{ 3 }}", "yes": True, "tag": ["a&b", "ü"], "none": None}
    await attempt(written(service.url, signing_secret="whsec_Zm9yd2FyZCBzZWNyZXQ="), form=form)
    ((request, body),) = service.requests
    assert body == b"id=cs_1&n=3&yes=true&tag=a%26b&tag=%C3%BC"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "webhook-signature" in request.headers


async def test_a_header_that_is_said_again_is_sent_once(service: Service) -> None:
    connection = written(service.url, headers={"content-type": "application/vnd.acme+json", "X-Shop": "de"})
    await attempt(connection, headers={"x-shop": "fr"})
    ((request, _),) = service.requests
    assert request.headers.getall("Content-Type") == ["application/vnd.acme+json"]
    assert request.headers.getall("X-Shop") == ["fr"]


# -- what is answered -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "status", "state", "counts"),
    [
        ({"success": ["200-299", 409]}, 409, "succeeded", False),
        ({"success": [200]}, 204, "dead", False),
        ({"success": ["200-299", 303]}, 303, "succeeded", False),
        ({"retry_on": [404, "420-425"]}, 404, "pending", False),
        ({"retry_on": [404]}, 503, "pending", True),
        ({}, 404, "dead", False),
        ({}, 409, "pending", False),
    ],
)
async def test_which_answers_are_successes_and_which_pass_can_be_said(
    service: Service, more: dict[str, Any], status: int, state: str, counts: bool
) -> None:
    service.say(status)
    ended = await attempt(written(service.url, **more))
    assert (ended.state, ended.is_connection_failure) == (state, counts)


PACKED = {
    "gzip": gzip.compress(b'{"number": 7}'),
    "deflate": zlib.compress(b'{"number": 7}'),
    "br": b'\x0b\x06\x80{"number": 7}\x03',
}


@pytest.mark.parametrize("encoding", PACKED)
async def test_a_packed_answer_is_read(service: Service, encoding: str) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert encoding in request.headers["Accept-Encoding"]
        headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
        return web.Response(body=PACKED[encoding], headers=headers)

    service.answer = answer
    assert (await attempt(written(service.url))).output["body"] == {"number": 7}


async def test_of_a_long_answer_so_much_is_kept_as_is_asked_for(service: Service) -> None:
    service.say(200, json.dumps({"a": "x" * 3000}), Content_Type="application/json")
    assert len((await attempt(written(service.url, max_answer="1KiB"))).output["body"]) == 1024
    assert (await attempt(written(service.url))).output["body"] == {"a": "x" * 3000}


async def test_a_packed_answer_is_bounded_by_what_it_holds(service: Service) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = gzip.compress(b"x" * 32 * 1024 * 1024)
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    service.answer = answer
    assert (await attempt(written(service.url))).output["body"] == "x" * 64 * 1024


async def test_a_packing_that_is_none_does_not_undo_a_success(service: Service) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"plain", headers={"Content-Encoding": "gzip"})

    service.answer = answer
    ended = await attempt(written(service.url))
    assert (ended.state, ended.output["body"]) == ("succeeded", "")


# -- tokens ---------------------------------------------------------------------------------------------------


class Tokens:
    """A token endpoint (RFC 6749) and a service that takes its tokens."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], dict[str, list[str]]]] = []
        self.good: set[str] = set()
        self.answer: dict[str, Any] | None = None
        self.status = 200
        self.lasts: object = 3600
        self.url = ""
        self.gate: asyncio.Event | None = None

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            self.asked.append((dict(request.headers), parse_qs((await request.read()).decode())))
            if self.gate is not None:
                await self.gate.wait()
            if self.answer is not None:
                return web.json_response(self.answer, status=self.status, headers={"Retry-After": "9"})
            token = f"token-{len(self.asked)}"
            self.good = {token}
            return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": self.lasts})
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.good:
            return web.json_response({"got": token}, status=401)
        return web.json_response({"got": token})

    def connection(self, **more: Any) -> dict[str, Any]:
        oauth2 = {"token_url": f"{self.url}/token", "client_id": "me:1", "client_secret": SECRET, **more}
        return written(f"{self.url}/hooks", oauth2=oauth2)


@pytest.fixture
async def tokens(serve: Serve) -> Tokens:
    tokens = Tokens()
    tokens.url = await serve(tokens.take)
    return tokens


async def test_a_token_is_asked_for_as_the_rfc_says_and_kept(tokens: Tokens) -> None:
    connection = tokens.connection(scope="orders stock", parameters={"audience": "https://a.example"})
    async with Trial(HttpForward(), {}, connection=connection) as trial:
        ended = [await trial.attempt() for _ in range(3)]
    assert [one.state for one in ended] == ["succeeded"] * 3
    assert ended[0].output["body"] == {"got": "***"}  # a token that is echoed is shown to nobody
    ((headers, form),) = tokens.asked
    assert b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == "me%3A1:client+secret+%2B1"
    expected = {"grant_type": ["client_credentials"], "scope": ["orders stock"], "audience": ["https://a.example"]}
    assert form == expected


async def test_id_and_secret_can_be_sent_in_the_body(tokens: Tokens) -> None:
    assert (await attempt(tokens.connection(client_auth="body"))).state == "succeeded"
    ((headers, form),) = tokens.asked
    assert "Authorization" not in headers
    assert (form["client_id"], form["client_secret"]) == (["me:1"], [SECRET])


async def test_a_token_that_the_service_refuses_is_replaced_once(tokens: Tokens) -> None:
    async with Trial(HttpForward(), {}, connection=tokens.connection()) as trial:
        assert (await trial.attempt()).state == "succeeded"
        tokens.good.clear()
        assert (await trial.attempt()).state == "succeeded"
        assert len(tokens.asked) == 2
        tokens.gate, tokens.good = asyncio.Event(), set()
        tokens.gate.set()
        tokens.answer = {"access_token": "never-good", "token_type": "bearer"}
        ended = await trial.attempt()
    assert (ended.state, ended.error) == ("dead", 'answered 401: {"got": "***"}')
    assert len(tokens.asked) == 3


@pytest.mark.parametrize(("lasts", "fetches"), [(3600, 1), ("3600", 1), (None, 1), (0, 2)])
async def test_a_token_is_kept_as_long_as_it_lasts(tokens: Tokens, lasts: object, fetches: int) -> None:
    tokens.lasts = lasts
    async with Trial(HttpForward(), {}, connection=tokens.connection()) as trial:
        for _ in range(2):
            await trial.attempt()
    assert len(tokens.asked) == fetches


async def test_many_who_wait_share_one_fetch(tokens: Tokens) -> None:
    tokens.gate = asyncio.Event()
    async with Trial(HttpForward(), {}, connection=tokens.connection()) as trial:
        running = [asyncio.create_task(trial.attempt()) for _ in range(8)]
        await until(lambda: tokens.asked)
        running[0].cancel()  # who asked first does not take the others with it
        tokens.gate.set()
        ended = await asyncio.gather(*running[1:])
    assert {one.state for one in ended} == {"succeeded"}
    assert len(tokens.asked) == 1


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (
            401,
            {"error": "invalid_client", "error_description": f"no client with {SECRET}"},
            "no access token: 127.0.0.1 answered 401: invalid_client no client with *** "
            "(look at client_id, client_secret and client_auth)",
        ),
        (400, {"error": "invalid_scope"}, "no access token: 127.0.0.1 answered 400: invalid_scope (look at scope)"),
        (503, {}, "no access token: 127.0.0.1 answered 503"),
        (200, {"html": 1}, "no access token: 127.0.0.1 answered 200 without an access_token: look at token_url"),
        (
            200,
            {"access_token": "t", "token_type": "mac"},
            "no access token: 127.0.0.1 gives one of type 'mac', and only bearer is known",
        ),
    ],
)
async def test_what_the_token_endpoint_says_is_told_and_tried_again(
    tokens: Tokens, status: int, answer: dict[str, Any], told: str
) -> None:
    tokens.status, tokens.answer = status, answer
    ended = await attempt(tokens.connection())
    assert (ended.state, ended.error, ended.is_connection_failure) == ("pending", told, True)
    assert ended.pause_seconds == (9 if status == 503 else None)
    (finding,) = await probe_action(HttpForward(), connection=HttpConnection.model_validate(tokens.connection()))
    assert (finding.verdict, finding.text.startswith("no access token")) == ("bad", True)


async def test_a_token_endpoint_is_guarded_as_the_service_is(tokens: Tokens) -> None:
    connection = {**tokens.connection(), "url": "https://warehouse.example/", "allow_private": False}
    ended = await attempt(connection)
    assert ended.state == "dead"
    assert "127.0.0.1 is a private address" in (ended.error or "")
    assert tokens.asked == []


@pytest.mark.parametrize("before", [150, 188, 194])
async def test_of_a_secret_that_is_answered_back_nothing_is_told_though_it_is_cut(
    service: Service, before: int
) -> None:
    service.say(400, "." * before + "Bearer hidden-token-of-the-warehouse")
    ended = await attempt(written(service.url, headers={"Authorization": "Bearer hidden-token-of-the-warehouse"}))
    assert (ended.state, "Bear" in (ended.error or "")) == ("dead", False), ended.error


# -- proxies --------------------------------------------------------------------------------------------------


async def test_a_proxy_is_spoken_to_with_its_password(service: Service, proxy: ForwardProxy) -> None:
    ended = await attempt(written(service.url, proxy=proxy.url))
    assert (ended.state, proxy.seen) == ("succeeded", [f"POST {service.url}"])
    proxy.forget()
    wrong = proxy.url.replace("proxy-password", "wrong-password")
    ended = await attempt(written(service.url, proxy=wrong))
    assert ended.state == "dead"  # an http:// service's answer is not told from the proxy's
    assert "wrong-password" not in str(ended)


async def test_tls_goes_through_a_proxy(serve: Serve, proxy: ForwardProxy, tmp_path: Path) -> None:
    secure, url = await _secure(serve, tmp_path)
    connection = written(url, proxy=proxy.url, ca_file="cert.pem")
    ended = await attempt(connection, str(tmp_path))
    port = urlsplit(url).port
    assert (ended.state, proxy.seen) == ("succeeded", [f"CONNECT localhost:{port}"])
    assert len(secure.requests) == 1
    ended = await attempt({**connection, "proxy": proxy.url.replace("proxy-", "wrong-")}, str(tmp_path))
    assert (ended.state, ended.error) == (
        "pending",
        "the proxy answered 401: look at its user and password",
    )


@pytest.mark.parametrize("is_secure", [True, False])
async def test_a_proxy_that_speaks_tls_is_trusted_as_the_service_is(
    serve: Serve, tls_proxy: str, proxy: ForwardProxy, tmp_path: Path, is_secure: bool
) -> None:
    service = Service()
    options = {"ssl": server_context(tmp_path)} if is_secure else {}
    url = (await serve(service.take, **options)).replace("127.0.0.1", "localhost") + "/"
    ended = await attempt(written(url, proxy=tls_proxy, ca_file="cert.pem"), str(tmp_path))
    target = f"CONNECT {urlsplit(url).netloc}" if is_secure else f"POST {url}"
    assert (ended.state, proxy.seen, len(service.requests)) == ("succeeded", [target], 1), ended.error
    ended = await attempt(written(url, proxy=tls_proxy), str(tmp_path))
    assert (ended.state, len(service.requests)) == ("pending", 1)
    assert (ended.error or "").startswith("the certificate of localhost is not good: self-signed certificate")
    assert "proxy-password" not in str(ended)


@pytest.mark.parametrize(
    ("environ", "is_used"),
    [
        ({"HTTP_PROXY": "PROXY"}, True),
        ({"http_proxy": "PROXY", "NO_PROXY": "elsewhere.example"}, True),
        ({"HTTP_PROXY": "PROXY", "NO_PROXY": "127.0.0.1"}, False),
        ({"HTTP_PROXY": "PROXY", "NO_PROXY": "10.0.0.0/8, 127.0.0.0/8"}, False),
        ({"HTTP_PROXY": "PROXY", "NO_PROXY": "*"}, False),
        ({"HTTPS_PROXY": "PROXY"}, False),
        ({}, False),
    ],
)
async def test_the_environments_proxy_is_used_where_it_is_asked_for(
    service: Service, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], is_used: bool
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value.replace("PROXY", proxy.url))
    assert (await attempt(written(service.url, proxy="env"))).state == "succeeded"
    assert bool(proxy.seen) == is_used
    proxy.forget()
    assert (await attempt(written(service.url))).state == "succeeded"
    assert proxy.seen == []


async def test_a_proxy_that_is_away_is_told_and_tried_again(service: Service) -> None:
    ended = await attempt(written(service.url, proxy="http://u:hidden-password@127.0.0.1:9"))
    assert ended.state == "pending"
    assert (ended.error or "").startswith("cannot connect to the proxy 127.0.0.1:9")
    assert "hidden-password" not in str(ended)


@pytest.mark.parametrize(
    ("url", "allowed", "told"),
    [
        ("http://10.9.8.7/", ["10.0.0.0/8"], "127.0.0.1 is a private address"),  # the proxy itself
        ("http://169.254.169.254/", True, "169.254.169.254 is a link-local or cloud metadata address"),
        ("http://10.9.8.7/", ["127.0.0.0/8"], "10.9.8.7 is a private address"),
        ("http://0x0a090807/", ["127.0.0.0/8"], "10.9.8.7 is a private address"),
        ("http://localhost/", ["127.0.0.2/32"], "is a private address"),
    ],
)
async def test_a_proxy_opens_no_way_round_the_guard(proxy: ForwardProxy, url: str, allowed: Any, told: str) -> None:
    connection = HttpConnection.model_validate(written(url, proxy=proxy.url, allow_private=allowed))
    (finding,) = await probe_action(HttpForward(), connection=connection)
    assert finding.verdict == "bad"
    assert told in finding.text
    assert proxy.seen == []


# -- certificates ---------------------------------------------------------------------------------------------


async def _secure(serve: Serve, folder: Path, *, client: Path | None = None) -> tuple[Service, str]:
    self_signed(folder)
    context = server_context(folder)
    if client is not None:
        context.load_verify_locations(client)
        context.verify_mode = ssl.CERT_REQUIRED
    service = Service()
    return service, (await serve(service.take, ssl=context)).replace("127.0.0.1", "localhost") + "/"


async def test_a_certificate_of_ones_own_is_trusted_where_it_is_named(serve: Serve, tmp_path: Path) -> None:
    _, url = await _secure(serve, tmp_path)
    ended = await attempt(written(url), str(tmp_path))
    expected = "the certificate of localhost is not good: self-signed certificate"
    assert (ended.state, ended.error) == ("pending", expected)
    assert (await attempt(written(url, ca_file="cert.pem"), str(tmp_path))).state == "succeeded"


async def test_a_service_that_asks_for_a_certificate_gets_it(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "client").mkdir()
    cert, _ = self_signed(tmp_path / "client", serial=7)
    _, url = await _secure(serve, tmp_path, client=cert)
    assert (await attempt(written(url, ca_file="cert.pem"), str(tmp_path))).state == "pending"
    tls = {"cert": "client/cert.pem", "key": "client/key.pem"}
    assert (await attempt(written(url, ca_file="cert.pem", tls=tls), str(tmp_path))).state == "succeeded"


async def test_certificates_that_change_are_read_anew(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    self_signed(tmp_path)
    _, url = await _secure(serve, tmp_path / "new")
    connection = written(url, ca_file="cert.pem")
    async with Trial(HttpForward(), {}, connection=connection, base_folder=str(tmp_path)) as trial:
        assert (await trial.attempt()).state == "pending"
        (tmp_path / "new" / "cert.pem").replace(tmp_path / "cert.pem")
        assert (await trial.attempt()).state == "succeeded"
        (tmp_path / "cert.pem").unlink()  # just being replaced
        assert (await trial.attempt()).state == "succeeded"


# -- what check says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "given", "told"),
    [
        ({"headers": {"Host": "x"}}, {}, "it.headers.Host: the header 'Host' may not be set so: it is written with"),
        ({"headers": {"Content-Length": "3"}}, {}, "the header 'Content-Length' may not be set so"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, {}, "the header 'Transfer-Encoding' may not be set so"),
        ({"headers": {"X Shop": "3"}}, {}, "'X Shop' is no name of a header: letters, digits and - only"),
        ({"headers": {"": "3"}}, {}, "'' is no name of a header"),
        ({"headers": {"X-Ü": "3"}}, {}, "'X-Ü' is no name of a header"),
        ({"headers": {"X-A": "a\nb"}}, {}, "it.headers.X-A: may not be set so: there is a line break or a control"),
        ({"headers": {"X-A": "a\x00b"}}, {}, "may not be set so: there is a line break or a control character in it"),
        ({}, {"headers": {"Host": "x"}}, "with.headers.Host: the header 'Host' may not be set so"),
        ({}, {"headers": {"X-A": "a\r\nb"}}, "with.headers.X-A: may not be set so: there is a line break"),
        ({}, {"method": "GET", "body": "x"}, "GET has no body: leave out body, put it into the query of url, or say"),
        ({}, {"method": "GET", "form": {"a": 1}}, "GET has no body: leave out form"),
        ({}, {"body": "x", "form": {"a": 1}}, "give body or form, not both"),
        ({}, {"form": {"a": {"b": 1}}}, "form.a holds a mapping or a list of lists, which a form cannot say"),
        ({}, {"form": ["a"]}, "expected a mapping"),
        ({}, {"url": "/a/../b"}, "url has . or .. as a part of its path"),
        ({"signing_secret": "topsecret"}, {}, "it.signing_secret: is no secret of Standard Webhooks: whsec_ and then"),
        ({"signing_secret": ["whsec_dG9wc2VjcmV0", "whsec_-_-_"]}, {}, "is no secret of Standard Webhooks"),
        ({"signing_secret": "whsec_"}, {}, "is no secret of Standard Webhooks"),
        ({"headers": {"authorization": "a"}, "url": "https://u:p@a.example/"}, {}, "headers and url each bring an"),
        ({"oauth2": {"token_url": "https://a.example/t", "client_id": "a"}, "headers": {"Authorization": "a"}}, {},
         "headers and oauth2 each bring an Authorization header: only one can be sent"),
        ({"oauth2": {"token_url": "ftp://a.example/t", "client_id": "a"}}, {}, "expected an http:// or https:// URL"),
        ({"oauth2": {"client_id": "a"}}, {}, "is missing token_url"),
        ({"url": "http://169.254.169.254/latest"}, {}, "169.254.169.254 is a link-local or cloud metadata address"),
        ({"proxy": "http://169.254.169.254:80"}, {}, "it.proxy: 169.254.169.254 is a link-local"),
        ({"proxy": "socks5://u:hidden@a.example:1"}, {}, "is no proxy: socks5 is not spoken; write http://host:port"),
        ({"proxy": "proxy.example:3128"}, {}, "is no proxy: write http://host:port, https://host:port, or env"),
        ({"proxy": "http://proxy.example/path"}, {}, "is no proxy: it has a path"),
        ({"ca_file": "empty.pem"}, {}, "cannot read certificates from empty.pem: there is no certificate in it"),
        ({"tls": {"cert": "cert.pem"}}, {}, "cannot use cert.pem as a client certificate"),
        ({"tls": {"cert": "cert.pem", "key": "other/key.pem"}}, {}, "the key is another certificate's"),
        ({"success": []}, {}, "expected at least 1 of them"),
        ({"success": ["299-200"]}, {}, "expected a status such as 409, or a range such as 200-299"),
        ({"retry_on": [999]}, {}, "expected a status such as 409, or a range such as 200-299"),
        ({"max_answer": "1GiB"}, {}, "expected at most 8388608"),
    ],
)  # fmt: skip
def test_what_can_never_be_sent_is_told_at_check(
    tmp_path: Path, more: dict[str, Any], given: dict[str, Any], told: str
) -> None:
    (tmp_path / "other").mkdir()
    self_signed(tmp_path)
    self_signed(tmp_path / "other")
    (tmp_path / "empty.pem").write_text("")
    connection = {"type": "http", "url": "https://warehouse.example/", **more}
    complaints = problems(HttpForward(), given, connection=connection, base_folder=str(tmp_path))
    assert any(told in text for text in complaints), complaints
    assert "hidden" not in str(complaints)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"url": "http://127.0.0.1:8000/"}, "it.url: 127.0.0.1 is a private address; say allow_private: true"),
        ({"url": "http://localhost/"}, "127.0.0.1 is a private address"),
        ({"url": "http://0x7f000001/"}, "127.0.0.1 is a private address"),
        ({"url": "http://10.0.0.5/", "allow_private": ["10.1.0.0/16"]}, "10.0.0.5 is a private address"),
        ({"proxy": "http://10.0.0.5:3128"}, "it.proxy: 10.0.0.5 is a private address"),
        (
            {"oauth2": {"token_url": "http://[::1]/", "client_id": "a"}},
            "it.oauth2.token_url: ::1 is a private address",
        ),
        (
            {"ca_file": "nowhere.pem"},
            "it.ca_file: cannot read certificates from nowhere.pem: No such file or directory",
        ),
        ({"url": "http://10.1.0.5/", "allow_private": ["10.1.0.0/16"]}, None),
        ({"url": "http://127.0.0.1:8000/", "allow_private": True, "proxy": ""}, None),
    ],
)
def test_what_may_be_right_elsewhere_is_warned_of(tmp_path: Path, more: dict[str, Any], told: str | None) -> None:
    connection = {"type": "http", "url": "https://a.example/", **more}
    accounts = {"acme": {"signing_secrets": ["whsec_acme"]}}
    value = {"version": 1, "accounts": accounts, "connections": {"it": connection}}
    (tmp_path / "gateway.yaml").write_text(json.dumps(value))
    loaded = load(tmp_path / "gateway.yaml", {})
    warnings = [str(problem) for problem in loaded.warnings if problem.code == "connection"]
    assert [told in text for text in warnings if told] == [True] * (told is not None), warnings
