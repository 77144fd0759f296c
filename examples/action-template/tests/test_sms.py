"""The action under trial: rendered, run and judged by the gateway's own code, against a service of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from gateway_action_sms import Sms, SmsConnection

from gateway.testing import Trial, make_event, probe_action, problems

EVENT = make_event(object={"customer_details": {"phone": "+49 30 123"}})
GIVEN = {
    "to": "{{ object.customer_details.phone }}",
    "text": "Paid: {{ object.amount_total | money(object.currency) }}",
}


class Service:
    """An SMS service that answers as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.url = ""
        self.taken: list[tuple[str, Any]] = []

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            self.taken.append((request.headers["Idempotency-Key"], await request.json()))
        return web.json_response({"id": "sms_1"}, status=self.status, headers={"Retry-After": "60"})


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    stand_in = Service()
    runner = web.ServerRunner(web.Server(stand_in.take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield stand_in
    await runner.cleanup()


def settings_of(service: Service) -> dict[str, Any]:
    return {"type": "sms", "url": service.url, "token": "topsecret", "allow_private": True}


async def test_it_sends_what_the_templates_say(service: Service) -> None:
    async with Trial(Sms(), GIVEN, connection=settings_of(service), event=EVENT, delivery_id="dlv_1") as trial:
        ended = await trial.attempt()
    assert (ended.state, ended.output, ended.error) == ("succeeded", {"id": "sms_1"}, None)
    assert service.taken == [("dlv_1", {"to": "+49 30 123", "text": "Paid: €45.00"})]


async def test_a_busy_service_is_asked_again_when_it_says(service: Service) -> None:
    service.status = 429
    async with Trial(Sms(), GIVEN, connection=settings_of(service), event=EVENT) as trial:
        busy = await trial.attempt()
        service.status = 200
        sent = await trial.attempt()
    assert (busy.state, busy.error, busy.wait_seconds) == ("pending", "the service answered 429", 60.0)
    assert sent.state == "succeeded"


async def test_the_last_attempt_is_a_dead_letter(service: Service) -> None:
    service.status = 500
    async with Trial(Sms(), GIVEN, connection=settings_of(service), event=EVENT, retry={"attempts": 1}) as trial:
        ended = await trial.attempt()
    assert (ended.state, ended.error) == ("dead", "the service answered 500 (attempt 1 of 1, the last)")


async def test_a_refused_number_is_a_dead_letter_that_names_no_secret(service: Service) -> None:
    service.status = 400
    async with Trial(Sms(), GIVEN, connection=settings_of(service), event=EVENT) as trial:
        ended = await trial.attempt()
    told = "the service answered 400: look at the number, or at the connection's token"
    assert (ended.state, ended.error) == ("dead", told)
    assert "topsecret" not in str(ended)


async def test_a_dry_run_sends_nothing(service: Service) -> None:
    async with Trial(Sms(), GIVEN, connection=settings_of(service), event=EVENT) as trial:
        ended = await trial.rehearse()
    assert (ended.state, ended.rendered["to"]) == ("skipped", "+49 30 123")
    assert service.taken == []


def test_a_mistake_is_told_at_check(service: Service) -> None:
    complaints = problems(Sms(), {"text": "hi"}, connection=settings_of(service))
    assert complaints == ["routes.trial.actions.sms.with: is missing to"]


async def test_the_probe_reaches_the_service(service: Service) -> None:
    connection = SmsConnection.model_validate(settings_of(service))
    [finding] = await probe_action(Sms(), connection=connection)
    assert finding.text == "answers 200 to HEAD: reached"
