"""email, http_forward and slack against real parts: an SMTP server, HTTP sinks. db_upsert has a file of its own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import stripe
from aiohttp import web
from aiosmtpd.smtp import SMTP
from standardwebhooks.webhooks import Webhook

from actions.email import Email
from actions.http_forward import HttpForward
from actions.slack import Slack
from gateway.plugin import HttpConnection, Reject, Retry, SlackConnection, SmtpConnection
from gateway.testing import Trial, make_event, run_action
from tests.contract.actions.servers import SECRET, Mailbox, Service

# -- http_forward ---------------------------------------------------------------------------------------------


def http(url: str, **more: Any) -> HttpConnection:
    given = {"type": "http", "url": url, "allow_private": True, "signing_secret": SECRET, **more}
    return HttpConnection.model_validate(given)


FORWARD = {"connection": "warehouse"}


async def test_a_forward_is_the_raw_event_signed_for_standard_webhooks(service: Service) -> None:
    old = "whsec_b2xkIHNlY3JldA=="
    event = make_event()
    output = await run_action(
        HttpForward(), FORWARD, connection=http(service.url, signing_secret=[SECRET, old]), event=event
    )
    assert output is not None
    assert (output["status"], output["body"]) == (200, {"ok": True})
    ((request, body),) = service.requests
    assert json.loads(body) == event
    for secret in (SECRET, old):
        assert Webhook(secret).verify(body, dict(request.headers)) == event
    assert request.headers["webhook-id"] == request.headers["Idempotency-Key"] == "dlv_test"


async def test_a_forward_can_be_signed_as_stripe_does(service: Service) -> None:
    await run_action(HttpForward(), FORWARD, connection=http(service.url, signature="stripe"))
    ((request, body),) = service.requests
    assert stripe.Webhook.construct_event(body, request.headers["Stripe-Signature"], SECRET)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
async def test_passing_answers_are_tried_again_as_late_as_asked(service: Service, status: int) -> None:
    service.say(status, "busy\x1b[31m", Retry_After="7")
    with pytest.raises(Retry) as caught:
        await run_action(HttpForward(), FORWARD, connection=http(service.url))
    assert caught.value.message == f"answered {status}: busy [31m"
    assert caught.value.after_seconds == 7
    assert caught.value.of_connection is (status != 409)


@pytest.mark.parametrize(
    ("status", "words"), [(400, "answered 400"), (302, "a redirect"), (410, "rests until it is resumed")]
)
async def test_other_answers_are_permanent(service: Service, status: int, words: str) -> None:
    service.say(status, Location=service.url)
    with pytest.raises(Reject, match=words):
        await run_action(HttpForward(), FORWARD, connection=http(service.url))
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("url", "allow"),
    [
        ("http://127.0.0.1:1/", False),
        ("http://[::ffff:127.0.0.1]:1/", False),
        ("http://0.0.0.0:1/", False),
        ("http://localhost:1/", False),
        ("http://10.0.0.1:1/", ["192.168.0.0/16"]),
        ("http://169.254.169.254/latest", True),
        ("http://[64:ff9b::a9fe:a9fe]/", True),
        ("http://[2002:a9fe:a9fe::]/", True),
    ],
)
async def test_addresses_that_were_not_meant_are_refused(url: str, allow: Any) -> None:
    with pytest.raises(Reject, match=r"private address|link-local or cloud metadata"):
        await run_action(HttpForward(), FORWARD, connection=http(url, allow_private=allow))


async def test_a_header_with_a_line_break_and_another_origin_are_refused(service: Service) -> None:
    given = {"headers": {"X-A": "{{ object.name }}"}}
    event = make_event(object={"name": "b\r\nEvil: 1"})
    async with Trial(HttpForward(), given, connection=http(service.url), event=event) as trial:
        ended = await trial.attempt()
    assert ended.state == "dead"
    assert (ended.error or "").endswith("may not be set so: there is a line break or a control character in it")
    with pytest.raises(Reject, match="another origin"):
        await run_action(HttpForward(), {**FORWARD, "url": "http://127.0.0.1:2/"}, connection=http(service.url))
    assert service.requests == []


# -- slack ----------------------------------------------------------------------------------------------------


async def test_slack_answers_mean_what_slack_says(service: Service) -> None:
    connection = SlackConnection.model_validate({"type": "slack", "webhook_url": service.url + "topsecret"})
    message = {"connection": "sales", "text": "hello"}
    service.say(200, "ok")
    assert await run_action(Slack(), message, connection=connection) == {"ts": None, "channel": None}
    assert json.loads(service.requests[0][1]) == {"text": "hello"}
    service.say(429, "", Retry_After="30")
    with pytest.raises(Retry) as limited:
        await run_action(Slack(), message, connection=connection)
    assert (limited.value.after_seconds, limited.value.pause_seconds) == (30, 30)
    service.say(404, "no_service")
    with pytest.raises(Reject) as gone:
        await run_action(Slack(), message, connection=connection)
    assert gone.value.message.startswith("Slack says no_service: the webhook was removed")
    assert "topsecret" not in gone.value.message


async def test_a_bot_token_posts_to_a_channel_and_threads(service: Service) -> None:
    connection = SlackConnection.model_validate(
        {"type": "slack", "token": "xoxb-1", "channel": "#sales", "api_url": service.url + "api"}
    )
    message = {"connection": "sales", "text": "hello", "thread_ts": "1.2"}

    async def api(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"ok": True, "ts": "1.3", "channel": "C1"})

    service.answer = api
    assert await run_action(Slack(), message, connection=connection) == {"ts": "1.3", "channel": "C1"}
    request, body = service.requests[0]
    assert (request.path, request.headers["Authorization"]) == ("/api/chat.postMessage", "Bearer xoxb-1")
    assert json.loads(body) == {"text": "hello", "thread_ts": "1.2", "channel": "#sales"}

    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"ok": False, "error": "not_in_channel"})

    service.answer = refuse
    with pytest.raises(Reject, match="Slack says not_in_channel: invite the bot to the channel"):
        await run_action(Slack(), message, connection=connection)


# -- email ----------------------------------------------------------------------------------------------------


LETTER = {"connection": "mail", "to": "jürgen@example.com", "subject": "A\r\nBcc: x@y.example", "text": "Für Zoë"}


async def test_a_mail_goes_over_starttls_and_login_and_has_the_deliverys_id(
    mail: tuple[Mailbox, dict[str, Any]],
) -> None:
    box, given = mail
    connection = SmtpConnection.model_validate(given)
    letter = {
        **LETTER,
        "html": "<b>hi</b>",
        "attachments": [{"filename": "a.txt", "content": "x"}],
        "cc": ["c@d.example"],
    }
    output = await run_action(Email(), letter, connection=connection)
    assert output == {
        "message_id": "<dlv_test@acme.example>",
        "accepted": ["jürgen@example.com", "c@d.example"],
        "refused": {},
        "answer": "OK",
    }
    (message,) = box.mails
    assert message["Subject"] == "A Bcc: x@y.example"
    assert message["Bcc"] is None
    plain = message.get_body(("plain",))
    assert plain is not None
    assert plain.get_content().strip() == "Für Zoë"
    assert [part.get_filename() for part in message.iter_attachments()] == ["a.txt"]


@pytest.mark.parametrize("takes_them", [True, False])
async def test_without_a_login_too_letters_beyond_ascii_go_where_the_server_takes_them(takes_them: bool) -> None:
    box, loop = Mailbox(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, enable_SMTPUTF8=takes_them, loop=loop), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    given = {"type": "smtp", "host": "127.0.0.1", "port": port, "tls": "none", "from": "a@acme.example"}
    connection = SmtpConnection.model_validate(given)
    if takes_them:
        await run_action(Email(), LETTER, connection=connection)
    else:
        with pytest.raises(Reject, match=r"^the mail server takes no addresses with letters beyond ASCII \(SMTPUTF8\)"):
            await run_action(Email(), LETTER, connection=connection)
    server.close()
    assert box.recipients == ["jürgen@example.com"] * takes_them


@pytest.mark.parametrize("to", ["a@example.com", "jürgen@example.com"])
async def test_a_recipient_that_is_refused_for_now_is_waited_for(mail: tuple[Mailbox, dict[str, Any]], to: str) -> None:
    box, given = mail
    connection = SmtpConnection.model_validate(given)
    letter = {**LETTER, "to": to, "cc": "busy@b.example", "bcc": "nobody@b.example"}
    with pytest.raises(Retry) as caught:
        await run_action(Email(), letter, connection=connection, attempt=4, attempts_left=1)
    assert (
        caught.value.message == "the mail waits for recipients that are refused for now: busy@b.example: 450 try later"
    )
    assert caught.value.of_connection is False
    assert box.mails == []
    for attempt, left in ((5, 1), (4, 0)):  # it waits no longer, or there is no other attempt
        sent = await run_action(Email(), letter, connection=connection, attempt=attempt, attempts_left=left)
        assert sent is not None
        assert (sent["accepted"], sent["refused"]) == (
            [to],
            {"busy@b.example": "450 try later", "nobody@b.example": "550 no such user"},
        )
    box.mails.clear()
    whole = {**letter, "cc": "c@b.example", "bcc": []}
    assert await run_action(Email(), whole, connection=connection, attempts_left=9) is not None
    assert (len(box.mails), box.recipients[-2:]) == (1, [to, "c@b.example"])


async def test_refusals_of_the_mail_server_are_told_apart(mail: tuple[Mailbox, dict[str, Any]]) -> None:
    _, given = mail
    connection = SmtpConnection.model_validate(given)
    with pytest.raises(Reject, match="550 no such user"):
        await run_action(Email(), {**LETTER, "to": "nobody@example.com"}, connection=connection)
    with pytest.raises(Retry, match="450 try later") as caught:
        await run_action(Email(), {**LETTER, "to": "busy@example.com"}, connection=connection)
    assert caught.value.of_connection is False  # one recipient says nothing of the server
    partly = await run_action(Email(), {**LETTER, "to": ["a@example.com", "nobody@b.example"]}, connection=connection)
    assert partly is not None
    assert partly["accepted"] == ["a@example.com"]
    wrong = SmtpConnection.model_validate({**given, "password": "wrong"})
    with pytest.raises(Retry, match="refused the login of me"):
        await run_action(Email(), LETTER, connection=wrong)
    for bad in ("not an address", "a@b.example\r\nBcc: x@y.example"):
        with pytest.raises(Reject, match="to: "):
            await run_action(Email(), {**LETTER, "to": bad}, connection=connection)
