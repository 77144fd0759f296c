"""Writes to Stripe: a refund, a customer's metadata. Safe to run twice within a day: Stripe knows the delivery's id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from gateway.plugin import Action, CallsStripe, Constant, Context, Reject, Settings


class StripeCallSettings(Settings):
    """`with` of stripe_call."""

    method: Annotated[
        str, Constant("name the method; what differs goes into params"), CallsStripe(ids="id", params="params")
    ] = Field(
        description="What to call, as the official Python library names it. The account's `may` must allow it.",
        examples=["refunds.create"],
    )
    id: str | list[str] | None = Field(
        None,
        description="The id of the object that is changed, where the method takes one; for one within another, both.",
        examples=["{{ object.customer }}"],
    )
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="Its parameters, as Stripe's API has them.",
        examples=[{"payment_intent": "{{ object.payment_intent }}", "metadata": {"order": "{{ object.id }}"}}],
    )

    @property
    def ids(self) -> list[str]:
        """The ids that go into the path."""
        return [self.id] if isinstance(self.id, str) else self.id or []


class StripeCall(Action[StripeCallSettings]):
    """Calls a method of Stripe's API that writes, with the account's key and on behalf of whom the event is.

    Only what the account's `may` names is called. The delivery's id is the Idempotency-Key, by which Stripe knows a
    second attempt for 24 hours.
    """

    name: ClassVar[str] = "stripe_call"
    Settings: ClassVar[type[Settings]] = StripeCallSettings

    async def run(self, settings: StripeCallSettings, context: Context) -> Mapping[str, Any]:
        """Calls once. Output: what Stripe answered."""
        if context.stripe is None:
            raise Reject("there is no Stripe account to write to: this is an event of the gateway itself")
        exchange = context.sends(" ".join([settings.method, *settings.ids]), body=settings.params)
        try:
            answer = await context.stripe.call(settings.method, settings.ids, settings.params)
        except Exception as error:
            exchange.answered(str(error))
            raise
        exchange.answered("done", body=answer)
        return answer
