"""What Slack answers, and what it would refuse; by a server that answers as Slack documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from actions.slack import Slack
from actions.slack_limits import cut
from gateway.testing import Trial, TrialResult, make_event, problems
from tests.contract.actions.servers import Service

SIGN_IN = "<!DOCTYPE html><html><title>Sign in</title></html>"


def webhook(service: Service) -> dict[str, Any]:
    return {"type": "slack", "webhook_url": service.url + "services/T1/B1/hidden"}


def bot(service: Service) -> dict[str, Any]:
    return {"type": "slack", "token": "xoxb-hidden", "channel": "#sales", "api_url": service.url + "api"}


async def attempt(connection: dict[str, Any], **given: Any) -> TrialResult:
    """One message for an event."""
    event = make_event(object={"name": "x" * 5000})
    async with Trial(Slack(), given or {"text": "hello"}, connection=connection, event=event) as trial:
        return await trial.attempt()


@pytest.mark.parametrize(
    ("status", "text", "state", "error"),
    [
        (200, "ok", "succeeded", None),
        (202, "", "succeeded", None),
        (204, "", "succeeded", None),
        (200, '{"success": true}', "succeeded", None),
        (200, '{"success": false, "error": "no such channel"}', "dead", "Slack says no such channel"),
        (200, SIGN_IN, "pending", "what answered 200 is not Slack: look at the connection's address and its proxy"),
        (403, SIGN_IN, "pending", "what answered 403 is not Slack: look at the connection's address and its proxy"),
        (
            400,
            "invalid_blocks",
            "dead",
            "Slack says invalid_blocks: Slack could not read blocks; try them in its",
        ),
        (302, "", "dead", "answered 302, a redirect, which is never followed; put the final address in the connection"),
        (503, "", "pending", "Slack answered 503"),
    ],
)
async def test_a_webhook_is_believed_where_it_speaks_as_slack_does(
    service: Service, status: int, text: str, state: str, error: str | None
) -> None:
    service.say(status, text)
    ended = await attempt(webhook(service))
    assert (ended.state, (ended.error or "")[: len(error or "")] or None) == (state, error)
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("answer", "state", "error"),
    [
        (
            {
                "ok": False,
                "error": "invalid_blocks",
                "errors": ["must be less than 3001 characters [json-pointer:/blocks/0/text/text]"],
                "response_metadata": {
                    "messages": ["[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]"]
                },
            },
            "dead",
            "Slack says invalid_blocks (must be less than 3001 characters [json-pointer:/blocks/0/text/text]): "
            "Slack could not read blocks; try them in its Block Kit Builder",
        ),
        (
            {"ok": False, "error": "missing_scope", "needed": "chat:write", "provided": "users:read"},
            "dead",
            "Slack says missing_scope (needed: chat:write): give the bot the scope chat:write",
        ),
        ({"ok": False, "error": "internal_error"}, "pending", "Slack says internal_error"),
        ({"ok": False, "error": "ratelimited"}, "pending", "Slack asks to wait 30 s"),
        ({"ok": False}, "dead", "Slack says unknown"),
        (["ok"], "pending", "what answered 200 is not Slack: look at the connection's address and its proxy"),
    ],
)
async def test_what_slack_says_of_a_bots_message_is_told(service: Service, answer: Any, state: str, error: str) -> None:
    service.say(200, json.dumps(answer))
    ended = await attempt(bot(service))
    assert (ended.state, ended.error) == (state, error)


async def test_an_answer_that_comes_in_pieces_is_read_whole(service: Service) -> None:
    """A message that was posted, and of whose answer half was read, would be posted again."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        text = json.dumps({"ok": True, "ts": "1.2", "message": {"text": "x" * 30_000}})
        for i in range(0, len(text), 1000):
            await response.write(text[i : i + 1000].encode())
        return response

    service.answer = answer
    ended = await attempt(bot(service))
    assert (ended.state, ended.output) == ("succeeded", {"ts": "1.2", "channel": None})


@pytest.mark.parametrize("unfurl", [True, False, None])
async def test_previews_can_be_asked_for(service: Service, unfurl: bool | None) -> None:
    service.say(200, "ok")
    await attempt(webhook(service), text="https://a.example", **({} if unfurl is None else {"unfurl": unfurl}))
    sent = json.loads(service.requests[0][1])
    assert {sent.get("unfurl_links"), sent.get("unfurl_media")} == {unfurl}


async def test_long_texts_are_cut_where_that_is_asked_for(service: Service) -> None:
    service.say(200, "ok")
    long = "{{ object.name }}"
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": long}},
        {"type": "section", "text": {"type": "mrkdwn", "text": long}, "fields": [{"type": "mrkdwn", "text": long}]},
        {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": long}}]},
        {"type": "image", "image_url": "https://a.example/" + "x" * 200, "alt_text": long},
        {"type": "markdown", "text": long},
    ]
    assert (await attempt(webhook(service), text=long, blocks=blocks, cut=True)).state == "succeeded"
    sent = json.loads(service.requests[0][1])
    header, section, actions, image, markdown = sent["blocks"]
    lengths = [len(header["text"]["text"]), len(section["text"]["text"]), len(section["fields"][0]["text"])]
    assert lengths == [150, 3000, 2000]
    assert len(actions["elements"][0]["text"]["text"]) == 75
    assert (len(image["alt_text"]), len(image["image_url"])) == (2000, 218)
    assert (len(markdown["text"]), len(sent["text"])) == (5000, 5000)
    await attempt(webhook(service), text=long, blocks=blocks)
    assert len(json.loads(service.requests[1][1])["blocks"][0]["text"]["text"]) == 5000


@pytest.mark.parametrize(
    ("text", "limit", "left"),
    [
        ("hello", 5, "hello"),
        ("hello there", 6, "hello…"),
        ("fish &amp; chips", 9, "fish …"),
        ("see <https://a.example|here>", 12, "see …"),
    ],
)
def test_no_entity_and_no_link_is_torn(text: str, limit: int, left: str) -> None:
    assert cut(text, limit) == left


LONG = "x" * 3001


@pytest.mark.parametrize(
    ("connection", "given", "told"),
    [
        ({}, {"text": "x" * 40_001}, "with.text: has 40001 characters, and Slack takes 40000 here (shorten it"),
        ({}, {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": LONG}}]},
         "with.blocks[0].text.text: has 3001 characters, and Slack takes 3000 here"),
        ({}, {"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]}, "takes 150 here"),
        ({}, {"blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]}, "a header is plain_text"),
        ({}, {"blocks": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}]}, "are 11, and 10"),
        ({}, {"blocks": [{"type": "section"}]}, "with.blocks[0]: a section needs text or fields"),
        ({}, {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": ""}}]}, "which Slack refuses"),
        ({}, {"blocks": [{"text": "x"}]}, "is no block: a mapping with a type"),
        ({}, {"blocks": ["x"]}, "is no block: a mapping with a type"),
        ({}, {"blocks": [{"type": "divider"}] * 51}, "there are 51 blocks, and a message has 50 at most"),
        ({}, {"text": "x", "channel": "#a"}, "channel and thread_ts need a bot token; an incoming webhook has its own"),
        ({}, {"text": "x", "thread_ts": "1.2"}, "channel and thread_ts need a bot token"),
        ({}, {}, "give text or blocks"),
        ({"webhook_url": "", "token": "xoxb-1"}, {"text": "x"}, "a bot token needs a channel, here or in"),
        ({"webhook_url": ""}, {"text": "x"}, "connections.it.webhook_url: has neither webhook_url nor token"),
        ({"token": "xapp-1", "channel": "a"}, {"text": "x"}, "this is an app-level token, which posts nothing"),
        ({"token": "xoxb-1\n", "channel": "a"}, {"text": "x"}, "there are characters in it that no token has"),
        ({"webhook_url": "http://169.254.169.254/"}, {"text": "x"}, "169.254.169.254 is a link-local or cloud"),
        ({"webhook_url": "hooks.slack.com/services"}, {"text": "x"}, "expected an http:// or https:// URL"),
        ({"proxy": "socks5://a.example:1"}, {"text": "x"}, "is no proxy: socks5 is not spoken"),
    ],
)  # fmt: skip
def test_what_slack_would_always_refuse_is_told_at_check(
    connection: dict[str, Any], given: dict[str, Any], told: str
) -> None:
    whole = {"type": "slack", "webhook_url": "https://hooks.slack.example/x", **connection}
    complaints = problems(Slack(), given, connection=whole)
    assert any(told in text for text in complaints), complaints
