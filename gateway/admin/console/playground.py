"""The playground: an event and a draft of routes, and what would happen. Nothing is sent."""

from __future__ import annotations

import json
from dataclasses import asdict

from aiohttp import web
from pydantic import ValidationError

from gateway.admin.console.render import page
from gateway.admin.field_completion import complete, near_fields
from gateway.admin.inbox import body_of
from gateway.admin.playground import PlaygroundResult, TrialAsk, in_turn, try_out
from gateway.admin.problems import Refused, words_of
from gateway.admin.request import parts
from gateway.config.secrets.masked_yaml import routes_text

SHOWN_CHARACTERS = 200_000
MOST_PATTERNS = 20  # of types of event, that a completion is asked for


async def show(request: web.Request) -> web.StreamResponse:
    """The form; `event` picks one of the inbox, `type` a sample, of the scenario `as`."""
    text, account = "", request.query.get("account", "")
    if picked := request.query.get("event"):
        operations = parts(request).operations
        event = await operations.shown(await operations.only_event(picked, account))
        account, body = event.account, body_of(event)
        text = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
        if len(text) > SHOWN_CHARACTERS:
            raise Refused(422, "this event is too long to edit in a page; use `gateway explain --id`")
    elif event_type := request.query.get("type", "").strip():
        text = await in_turn(_sample, event_type, request.query.get("as") or None)
    return await _page(request, text, account, routes_text(parts(request).gateway.config), None)


async def run(request: web.Request) -> web.StreamResponse:
    """Tries it out."""
    form = await request.post()
    text, account, draft = (_text(form.get(name)) for name in ("event", "account", "draft"))
    try:
        ask = TrialAsk(event=text, account=account, draft=draft)
    except ValidationError as error:
        raise Refused(422, words_of(error)) from None
    return await _page(request, text, account, draft, await try_out(parts(request).gateway.config, ask))


def _sample(event_type: str, scenario: str | None) -> str:
    """An event of the type, as JSON. Raises Refused where there is no such type or scenario."""
    from gateway.stripe.event_types import every_type, is_thin, nearest
    from gateway.testing import UnknownScenarioError, make_event, thin_event

    if event_type not in every_type():
        near = nearest(event_type)
        raise Refused(422, f"there is no event type {event_type}" + (f"; did you mean {near}?" if near else ""))
    try:
        event = thin_event(event_type) if is_thin(event_type) else make_event(event_type, scenario=scenario)
    except UnknownScenarioError as error:
        raise Refused(422, str(error)) from None
    return json.dumps(event, indent=2, ensure_ascii=False)


def _samples_of(event_type: str) -> tuple[list[str], list[str]]:
    """The types that a sample can be of, and the scenarios of this one."""
    from gateway.stripe.event_types import every_type, is_thin
    from gateway.testing import scenarios

    return sorted(every_type()), [] if is_thin(event_type) else list(scenarios(event_type))


def _type_of(text: str) -> str:
    """The type of the event in the form; empty where it is none."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    event_type = event.get("type") if isinstance(event, dict) else None
    return event_type if isinstance(event_type, str) else ""


def _text(field: object) -> str:
    """A field's text; browsers send lines that end in CR LF."""
    return field.replace("\r\n", "\n") if isinstance(field, str) else ""


async def fields(request: web.Request) -> web.StreamResponse:
    """How a path that is being typed may go on, for the script of the page: `type` names types of event or globs."""
    patterns, typed = request.query.getall("type", []), request.query.get("typed", "")
    known = await in_turn(complete, patterns[:MOST_PATTERNS], typed)
    return web.json_response([asdict(completion) for completion in known])


async def _page(
    request: web.Request, text: str, account: str, draft: str, trial: PlaygroundResult | None
) -> web.Response:
    accounts = parts(request).gateway.config.event_accounts
    event_type = _type_of(text)
    types, scenarios = await in_turn(_samples_of, event_type)
    context = {
        "event": text, "account": account, "accounts": accounts, "draft": draft, "trial": trial,
        "event_type": event_type, "types": types, "scenarios": scenarios, "scenario": request.query.get("as", ""),
        "fields": await in_turn(near_fields, event_type) if event_type else [],
    }  # fmt: skip
    return page(request, "playground.html", context)
