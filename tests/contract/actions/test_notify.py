"""notify by Apprise, on a real HTTP server that stands for a service, with its URL hidden everywhere."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from actions.notify import AppriseConnection, Notify
from gateway.plugin import Finding
from gateway.testing import Trial, TrialResult, make_event, probe_action, problems
from tests.acceptance.harness import free_port
from tests.certificates import server_context
from tests.contract.actions.proxies import ForwardProxy, proxy, proxy_server, tls_proxy
from tests.contract.actions.servers import Service, service
from tests.http_service import Serve

__all__ = ["proxy", "proxy_server", "service", "tls_proxy"]  # fixtures

TOKEN = "tok-7a1b9c"
SECRET = "top5ecret"


def url_of(service: Service) -> str:
    return service.url.replace("http://", f"json://me:{SECRET}@") + TOKEN


def written(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "apprise", "url": url, **more}


def trial(url: str, *, timeout: str = "30s", event: Any = None, **given: Any) -> Trial:
    return Trial(Notify(), given, connection={"type": "apprise", "url": url}, timeout=timeout, event=event)


async def attempt(url: str, **given: Any) -> TrialResult:
    async with trial(url, **given) as one:
        return await one.attempt()


async def said(service: Service) -> dict[str, Any]:
    [(_, body)] = service.requests
    found: dict[str, Any] = json.loads(body)
    return found


async def test_a_message_with_its_title_and_kind_goes_out_once(service: Service) -> None:
    ended = await attempt(url_of(service), text="Order {{ object.currency }}", title="Paid", kind="success")
    assert (ended.state, ended.output, ended.error) == ("succeeded", {"service": "JSON"}, None)
    found = await said(service)
    assert (found["message"], found["title"], found["type"]) == ("Order eur", "Paid", "success")
    [(request, _)] = service.requests
    assert request.path == f"/{TOKEN}"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"text": "{{ object.id }}"}, "@\u200beveryone <\u200b!channel> *b*"),
        ({"markdown": "**{{ object.id }}**"}, "**@\u200beveryone \\<\u200b!channel\\> \\*b\\***"),
        ({"html": "<b>{{ object.id }}</b>"}, "<b>@everyone &lt;!channel&gt; *b*</b>"),
    ],
)
async def test_what_a_customer_brings_calls_nobody_and_is_no_markup(
    service: Service, given: dict[str, Any], shown: str
) -> None:
    event = make_event(object={"id": "@everyone <!channel> *b*"})
    form = next(iter(given))
    await attempt(url_of(service) + f"?format={form}", event=event, **given)
    assert (await said(service))["message"] == shown


@pytest.mark.parametrize(
    ("status", "state", "told"),
    [
        (401, "dead", "JSON answered 401 Unauthorized"),
        (404, "dead", "JSON answered 404 Not Found"),
        (408, "pending", "JSON answered 408 Request Timeout"),
        (429, "pending", "JSON answered 429 Too Many Requests"),
        (500, "pending", "JSON answered 500 Internal Server Error"),
        (503, "pending", "JSON answered 503 Service Unavailable"),
    ],
)
async def test_what_a_service_answers_tells_retry_from_dead(
    service: Service, status: int, state: str, told: str
) -> None:
    service.say(status, "no")
    ended = await attempt(url_of(service), text="hi")
    assert (ended.state, ended.error) == (state, told)
    assert len(service.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("asked", ["", "?redirect=yes"])
async def test_a_redirect_is_a_failure_and_never_followed(service: Service, status: int, asked: str) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        is_first = request.path == f"/{TOKEN}"
        return web.Response(status=status if is_first else 200, headers={"Location": "/elsewhere"} if is_first else {})

    service.answer = answer
    ended = await attempt(url_of(service) + asked, text="hi")
    assert ended.state == "dead"
    assert re.fullmatch(
        rf"JSON answered {status} [\w ]+: a redirect, which is never followed; "
        "put the final address into the connection's url",
        ended.error or "",
    )
    assert [request.path for request, _ in service.requests] == [f"/{TOKEN}"]


async def test_a_service_that_recovers_is_notified_by_the_next_attempt(service: Service) -> None:
    async with trial(url_of(service), text="hi") as one:
        service.say(502)
        assert (await one.attempt()).is_connection_failure
        service.say(200)
        assert (await one.attempt()).state == "succeeded"


async def test_a_service_that_is_away_is_retried_and_its_secrets_are_not_told() -> None:
    ended = await attempt(f"json://me:{SECRET}@127.0.0.1:{free_port()}/{TOKEN}", text="hi")
    assert ended.state == "pending"
    assert ended.error == "JSON was not notified: A Connection error occurred sending JSON notification to ***."


async def test_a_service_that_hangs_ends_by_the_timeout_and_blocks_no_other(service: Service) -> None:
    is_over = asyncio.Event()

    async def hang(request: web.BaseRequest) -> web.StreamResponse:
        await is_over.wait()
        return web.Response()

    service.answer = hang
    async with trial(url_of(service), text="hi", timeout="2s") as one:
        hung = await one.attempt()
        service.say(200)
        assert (await one.attempt()).state == "succeeded"
    is_over.set()
    assert hung.error == "no end after 2 s (its timeout); whether it took effect is not known"


async def test_failures_at_once_are_told_to_the_attempt_that_had_them(service: Service) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=int(request.path.strip("/")))

    service.answer = answer
    base = service.url.replace("http", "json")
    codes = [401, 503, 404, 500] * 3
    ended = await asyncio.gather(*(attempt(f"{base}{code}", text="hi") for code in codes))
    assert [int((one.error or "").split()[2]) for one in ended] == codes


async def test_no_log_names_a_secret(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "apprise")
    service.say(401)
    ended = await attempt(url_of(service), text="hi")
    for secret in (SECRET, TOKEN):
        assert secret not in caplog.text
        assert secret not in str(ended)


async def test_a_dry_run_renders_and_sends_nothing(service: Service) -> None:
    async with trial(url_of(service), text="Order {{ object.currency }}") as one:
        ended = await one.rehearse()
    assert (ended.state, ended.rendered) == ("skipped", {"connection": "it", "text": "Order eur"})
    assert service.requests == []


async def test_an_empty_message_is_dead(service: Service) -> None:
    ended = await attempt(url_of(service), text="{{ '' }}")
    assert (ended.state, ended.error) == ("dead", "text is empty: there is nothing to say")


@pytest.mark.parametrize(
    ("url", "given", "told"),
    [
        ("json://host", {}, "routes.trial.actions.notify.with: give one of text, markdown and html"),
        (
            "json://host",
            {"text": "a", "html": "b"},
            "routes.trial.actions.notify.with: give one of text, markdown and html",
        ),
        (
            f"nosuch://{TOKEN}",
            {"text": "a"},
            "connections.it.url: is no URL of a service that Apprise knows: see https://github.com/caronc/apprise/wiki",
        ),
        (
            f"discord://{TOKEN}",
            {"text": "a"},
            "connections.it.url: is no URL of a service that Apprise knows: see https://github.com/caronc/apprise/wiki",
        ),
    ],
)
def test_what_cannot_be_right_is_told_at_check_without_the_url(url: str, given: dict[str, Any], told: str) -> None:
    found = problems(Notify(), given, connection={"type": "apprise", "url": url})
    assert [one.partition(", found")[0] for one in found] == [told]
    assert TOKEN not in str(found)


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "apprise" else real(name))
    found = problems(Notify(), {"text": "a"}, connection={"type": "apprise", "url": "json://host"})
    assert found == [
        "routes.trial.actions.notify.uses: action notify needs apprise, which is not installed "
        "(pip install 'stripe-fulfilment-gateway[notify]')"
    ]


async def test_the_probe_reaches_the_server_and_sends_nothing(service: Service) -> None:
    connection = AppriseConnection.model_validate({"type": "apprise", "url": url_of(service)})
    text = "JSON: its server is reached; whether it takes the credentials shows with a message"
    assert await probe_action(Notify(), connection=connection) == [Finding.good(text)]
    assert service.requests == []
    away = AppriseConnection.model_validate({"type": "apprise", "url": f"json://me:{SECRET}@127.0.0.1:{free_port()}"})
    (bad,) = await probe_action(Notify(), connection=away)
    assert (bad.verdict, bad.fix) == ("bad", "look at the connection's url, DNS and firewall")
    assert bad.text.startswith("JSON: its server is not reached: ")
    assert SECRET not in bad.text


# -- proxy and ca_file ----------------------------------------------------------------------------------------


async def test_a_message_goes_through_the_proxy_that_is_named(service: Service, proxy: ForwardProxy) -> None:
    async with Trial(Notify(), {"text": "hi"}, connection=written(url_of(service), proxy=proxy.url)) as through:
        assert (await through.attempt()).state == "succeeded"
    assert proxy.seen == [f"POST {service.url}{TOKEN}"]
    proxy.forget()
    assert (await attempt(url_of(service), text="hi")).state == "succeeded"
    assert proxy.seen == []


async def test_tls_goes_through_a_tls_proxy_and_both_are_trusted_by_ca_file(
    serve: Serve, tls_proxy: str, proxy: ForwardProxy, tmp_path: Path
) -> None:
    service = Service()
    url = (await serve(service.take, ssl=server_context(tmp_path))).replace("127.0.0.1", "localhost")
    connection = written(url.replace("https://", "jsons://"), proxy=tls_proxy, ca_file=str(tmp_path / "cert.pem"))
    async with Trial(Notify(), {"text": "hi"}, connection=connection) as trusting:
        ended = await trusting.attempt()
    assert (ended.state, len(service.requests)) == ("succeeded", 1), ended.error
    assert [line.partition(" ")[0] for line in proxy.seen] == ["CONNECT"]
    async with Trial(Notify(), {"text": "hi"}, connection={**connection, "ca_file": None}) as distrusting:
        ended = await distrusting.attempt()
    assert (ended.state, len(service.requests)) == ("pending", 1)
    assert "proxy-password" not in str(ended)


async def test_a_proxy_that_asks_for_another_password_is_told_and_tried_again(service: Service) -> None:
    service.say(407)
    ended = await attempt(url_of(service), text="hi")
    assert (ended.state, ended.error) == (
        "pending",
        "JSON was not notified: the proxy answered 407: look at its user and password",
    )


async def test_the_probe_reaches_the_proxy(proxy: ForwardProxy) -> None:
    connection = AppriseConnection.model_validate(written("json://shop.invalid", proxy=proxy.url))
    (good,) = await probe_action(Notify(), connection=connection)
    assert good.text.startswith("JSON: its proxy is reached; ")
    away = AppriseConnection.model_validate(written("json://shop.invalid", proxy=f"http://me:{SECRET}@127.0.0.1:9"))
    (bad,) = await probe_action(Notify(), connection=away)
    assert bad.text.startswith("JSON: its proxy is not reached: ")
    assert SECRET not in bad.text


@pytest.mark.parametrize(
    ("url", "more", "told"),
    [
        (
            "json://a.example",
            {"proxy": "http://169.254.169.254"},
            "proxy: 169.254.169.254 is a link-local or cloud metadata address, which is never reached",
        ),
        (
            "json://a.example",
            {"proxy": "proxy.example:3128"},
            "proxy: is no proxy: write http://host:port, https://host:port, or env",
        ),
        (
            "json://a.example",
            {"ca_file": __file__},
            f"ca_file: cannot read certificates from {__file__}: there is no certificate in it",
        ),
        (
            "mailto://me:pw@a.example",
            {"proxy": "http://proxy.example:3128"},
            "proxy: E-Mail is not reached over HTTP (leave it out)",
        ),
        ("json://a.example", {"proxy": "env"}, None),
        ("mailto://me:pw@a.example", {"proxy": ""}, None),
    ],
)
def test_what_no_proxy_and_no_certificate_can_be_is_told_at_check(
    url: str, more: dict[str, str], told: str | None
) -> None:
    complaints = problems(Notify(), {"text": "a"}, connection=written(url, **more))
    assert complaints == ([f"connections.it.{told}"] if told is not None else [])
