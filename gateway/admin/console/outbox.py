"""What `gateway dev` caught: mails as they look, forwards, Slack messages."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from gateway.admin.api.schemas import DeliveriesQuery, DeliveryOut
from gateway.admin.console.notices import go_back, notices
from gateway.admin.console.render import framed, page
from gateway.admin.outbox import KINDS, Caught
from gateway.admin.playground import in_turn
from gateway.admin.problems import Refused
from gateway.admin.request import actor, parts
from gateway.admin.sample_sender import send_sample, sendable


def _caught(request: web.Request) -> Caught:
    outbox = parts(request).outbox
    number = request.match_info["number"]
    caught = outbox.get(int(number)) if outbox is not None and len(number) < 12 else None
    if caught is None:
        raise Refused(404, "there is no such thing in the outbox any more")
    return caught


async def listed(request: web.Request) -> web.StreamResponse:
    """The newest first, and what can be sent."""
    admin, kind = parts(request), request.query.get("kind", "")
    caught = [one for one in (admin.outbox.all() if admin.outbox is not None else ()) if kind in ("", one.kind)]
    context = {
        "caught": caught,
        "by_id": await _deliveries(request, caught),
        "kinds": KINDS,
        "kind": kind,
        "sendable": await in_turn(sendable, admin.gateway.config),
        "accounts": list(admin.gateway.config.accounts),
        **notices(request),
    }
    return page(request, "outbox.html", context)


async def _deliveries(request: web.Request, caught: Sequence[Caught]) -> dict[str, DeliveryOut]:
    """The deliveries that sent these, by id."""
    ids = list(dict.fromkeys(one.delivery_id for one in caught if one.delivery_id is not None))
    if not ids:
        return {}
    listed = await parts(request).operations.deliveries(DeliveriesQuery(limit=len(ids)), ids)
    return {delivery.id: delivery for delivery in listed.items}


async def send(request: web.Request) -> web.StreamResponse:
    """Takes a sample in."""
    form = await request.post()
    event_type, scenario, account = (str(form.get(name) or "") for name in ("type", "as", "account"))
    event = await send_sample(parts(request).operations, actor(request), event_type, scenario, account)
    return go_back(request, f"/events/{event.id}", "said", f"Sent to account {event.account}.", account=event.account)


async def show(request: web.Request) -> web.StreamResponse:
    """One."""
    caught = _caught(request)
    by_id = await _deliveries(request, [caught])
    return page(request, "caught.html", {"it": caught, "delivery": by_id.get(caught.delivery_id or "")})


async def html(request: web.Request) -> web.StreamResponse:
    """A mail's HTML for its frame: no script, no network, no access to anything of ours."""
    return framed(_caught(request).html)
