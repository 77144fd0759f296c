"""A person's yes or no to a delivery that needs one. Noted in the audit log before it is taken."""

from __future__ import annotations

from collections.abc import Collection

from gateway.admin.api.schemas import DeliveryWhole, Result
from gateway.admin.pausing import Actor, Pausing
from gateway.admin.problems import Refused
from gateway.core.approval_link import Asked, asked_by
from gateway.core.model import Approve, DeliveryFilter

TERMINAL, LINK = "cli", "link"


class Approving(Pausing):
    """Reads a store, and takes what people answer."""

    async def answer(self, actor: Actor, delivery_id: str, *, is_yes: bool) -> Result:
        """Lets a delivery go on, or cancels it. Raises Refused where nobody asked, or this person is not asked."""
        delivery = await self.only_delivery(delivery_id)
        rule = self.asks(delivery)
        if rule is None:
            raise Refused(409, f"{delivery.route}/{delivery.action} asks nobody: its action does not say `approve`")
        _check(actor, rule, self.config.settings.admin.tokens)
        who = actor.name or f"the {actor.role}"
        await self.note(actor, f"delivery.{'approve' if is_yes else 'refuse'}", delivery_id)
        return Result.of(delivery_id, await self.store.answer(delivery_id, who, is_yes=is_yes))

    def asks(self, delivery: DeliveryWhole) -> Approve | None:
        """What today's configuration says of who is to approve a delivery; None where nobody is."""
        route = next((route for route in self.config.routes if route.name == delivery.route), None)
        action = route.action(delivery.action) if route is not None else None
        return action.approve if action is not None else None

    async def linked(self, token: str) -> DeliveryWhole:
        """The delivery that a link is about. Raises Refused where the link is none of ours, or is used up."""
        asked = asked_by(self.config.settings.admin.token.get_secret_value(), token)
        delivery = None if asked is None else await self._asked(asked)
        if delivery is None:
            raise Refused(404, "this link leads nowhere: it is not whole, or what it was about is gone")
        if delivery.word.is_link_used:
            raise Refused(410, "this link was of an earlier question; the console has the new one")
        return delivery

    async def _asked(self, asked: Asked) -> DeliveryWhole | None:
        for kept in await self.store.deliveries(DeliveryFilter(event_ids=(asked.event_id,)), limit=1000):
            if (kept.run_id, kept.action) == (asked.run_id, asked.action):
                return await self.only_delivery(kept.id)
        return None


def _word(name: str) -> str:
    return name.strip().casefold()


def _check(actor: Actor, rule: Approve, tokens: Collection[str]) -> None:
    """Raises Refused where somebody else is asked. Whoever sent a token with a scope is not another by saying so."""
    asked = set(map(_word, rule.by))
    proven, said = _word(actor.token or "operator"), {_word(actor.name)}
    if actor.token:
        said -= {"operator", *map(_word, tokens)}
    if actor.role in (TERMINAL, LINK) or not asked.isdisjoint({proven, *said}):
        return
    you = f"you are signed in as {actor.name}" if actor.name else "you gave no name when you signed in"
    raise Refused(403, f"it waits for {' or '.join(rule.by)}, and {you}")
