"""The page that a link in a message leads to. Looking at it decides nothing: what scans mails opens links, too."""

from __future__ import annotations

from aiohttp import web

from gateway.admin.api.schemas import DeliveryWhole
from gateway.admin.approving import LINK
from gateway.admin.console.deliveries import takes_answer
from gateway.admin.console.render import page
from gateway.admin.pausing import Actor
from gateway.admin.problems import Refused
from gateway.admin.request import asked_from_here, parts

NAME_CHARACTERS = 60


async def ask(request: web.Request) -> web.StreamResponse:
    """What is asked, with two buttons; or what came of it."""
    if (again := asked_from_here(request)) is not None:  # the form is to be of the session of whoever is signed in
        return again
    return _shown(request, await parts(request).operations.linked(request.match_info["token"]))


async def answer(request: web.Request) -> web.StreamResponse:
    """Takes the answer, once."""
    operations = parts(request).operations
    delivery = await operations.linked(request.match_info["token"])
    form = await request.post()
    said, name = form.get("answer"), form.get("name")
    if said not in ("approve", "refuse"):
        raise Refused(422, "say approve or refuse")
    rule = operations.asks(delivery)
    given = name.strip()[:NAME_CHARACTERS] if isinstance(name, str) else ""
    who = f"{given or ' or '.join(rule.by if rule is not None else ())} by link"
    actor = Actor(LINK, who, request.remote or "unknown")
    result = await operations.answer(actor, delivery.id, is_yes=said == "approve")
    after = await operations.only_delivery(delivery.id)
    return _shown(request, after, result.refused, status=200 if result.refused is None else 409)


def _shown(
    request: web.Request, delivery: DeliveryWhole, refused: str | None = None, status: int = 200
) -> web.Response:
    """No more than the question: whoever has the link may decide it, and is not signed in."""
    asks = parts(request).operations.asks(delivery) if takes_answer(delivery) else None
    return page(request, "approval.html", {"delivery": delivery, "asks": asks, "refused": refused}, status=status)
