"""Where a forward goes: what an event brings into a url is one part of it; what is written is sent to the letter."""

from __future__ import annotations

from typing import Any

import pytest

from actions.http_forward import HttpForward
from gateway.plugin import HttpConnection
from gateway.testing import Trial, TrialResult, make_event, probe_action, problems
from tests.contract.actions.servers import Service, service

__all__ = ["service"]  # a fixture
LETTER = "p%2Fq?sig=a%3Db%2Fc&u=%7Eme&v=%2B+%26"


def connection(base: str) -> dict[str, Any]:
    return {"type": "http", "url": base, "allow_private": True}


async def attempt(base: str, url: str | None = None, **fields: Any) -> TrialResult:
    given = {} if url is None else {"url": url}
    async with Trial(HttpForward(), given, connection=connection(base), event=make_event(object=fields)) as trial:
        return await trial.attempt()


@pytest.mark.parametrize(
    ("url", "name", "path"),
    [
        ("/customers/{{ object.name }}/orders", "AC/DC", "/customers/AC%2FDC/orders"),
        ("/customers/{{ object.name }}/orders", "a?b#c", "/customers/a%3Fb%23c/orders"),
        ("/customers/{{ object.name }}/orders", "50%2F", "/customers/50%252F/orders"),
        ("/customers/{{ object.name }}/orders", "Zoë\r x", "/customers/Zo%C3%AB%0D%20x/orders"),
        ("/customers/{{ object.name }}/orders", "a..b", "/customers/a..b/orders"),
        ("/find?name={{ object.name }}&all=1", "a&all=0", "/find?name=a%26all%3D0&all=1"),
        ("/{{ object.name | safe }}/orders", "eu/acme", "/eu/acme/orders"),
        ("{{ object.name }}", "/links/self?page=2", "/links/self?page=2"),
        ("/a b/ü%", "", "/a%20b/%C3%BC%25"),
    ],
)
async def test_what_an_event_brings_is_one_part_of_the_path(service: Service, url: str, name: str, path: str) -> None:
    ended = await attempt(service.url, url, name=name)
    assert ended.state == "succeeded"
    assert [request.raw_path for request, _ in service.requests] == [path]


@pytest.mark.parametrize("name", ["..", ".", "%2e%2E", "../../admin", "a/../b", "..\\admin"])
@pytest.mark.parametrize(
    "url", ["/customers/{{ object.name }}/orders", "{{ object.name }}", "/{{ object.name | safe }}"]
)
async def test_a_path_that_would_climb_is_never_sent(service: Service, url: str, name: str) -> None:
    ended = await attempt(service.url, url, name=name)
    if url.startswith("/customers") and name == "%2e%2E":  # escaped, it is a name like any other
        assert [request.raw_path for request, _ in service.requests] == ["/customers/%252e%252E/orders"]
        return
    assert (ended.state, ended.error) == ("dead", "url has . or .. as a part of its path: write the path out")
    assert service.requests == []


async def test_two_slashes_lead_to_no_other_host(service: Service) -> None:
    ended = await attempt(service.url, "/{{ object.name }}/evil.example/x", name="")
    assert ended.state == "dead"
    assert "another origin" in (ended.error or "")


async def test_what_is_written_is_sent_to_the_letter(service: Service) -> None:
    await attempt(service.url + LETTER)
    await attempt(service.url, f"/{LETTER}")
    settings = HttpConnection.model_validate(connection(service.url + LETTER))
    findings = await probe_action(HttpForward(), connection=settings)
    assert [finding.verdict for finding in findings] == ["good"]
    assert [request.raw_path for request, _ in service.requests] == [f"/{LETTER}"] * 3


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "/x/{{ object.name | urlencode }}",
            "url escapes what each template brings: leave out urlencode, or add | safe",
        ),
        ("/x?{{ object.name | urlencode | safe }}", None),
        (
            "{{ vars.base }}/x",
            "url begins with a template, which brings one part of a path: add | safe where it brings more",
        ),
        ("{{ vars.base | safe }}/x", None),
        ("{{ vars.base }}", None),
        ("/a/../b/{{ object.id }}", "url has . or .. as a part of its path: write the path out"),
        ("/a/{{ '..' }}/b?c=../d", None),
    ],
)
def test_a_url_that_would_be_another_than_meant_is_told_at_check(url: str, told: str | None) -> None:
    complaints = [
        text
        for text in problems(HttpForward(), {"url": url}, connection=connection("https://a.example/"))
        if "vars" not in text
    ]
    assert complaints == ([f"routes.trial.actions.http_forward.with: {told}"] if told else [])
