"""Sends an SMS. A second run may send twice, unless the service honours Idempotency-Key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import aiohttp
from pydantic import Field, SecretStr

from gateway.plugin import (
    Action,
    Connection,
    ConnectionSettings,
    Context,
    Finding,
    ProbeContext,
    Reject,
    Retry,
    Settings,
    Text,
    Url,
    guarded_session,
    retry_after_seconds,
)


class SmsConnection(ConnectionSettings):
    """A service that sends SMS."""

    type: Literal["sms"]
    url: Url = Field(description="Where its API is.", examples=["https://sms.example/v1/messages"])
    token: SecretStr = Field(description="Its API token.", examples=["${SMS_TOKEN}"])
    allow_private: bool = Field(False, description="true: it may be on a private network.", examples=[True])


class SmsSettings(Settings):
    """`with` of sms."""

    connection: Annotated[str, Connection(SmsConnection)] = Field(
        description="A connection of type sms.", examples=["texts"]
    )
    to: str = Field(min_length=3, description="The number.", examples=["{{ object.customer_details.phone }}"])
    text: Annotated[str, Text()] = Field(description="The message.", examples=["Your order is on its way."])


class Sms(Action[SmsSettings]):
    """Sends an SMS."""

    name: ClassVar[str] = "sms"
    Settings: ClassVar[type[Settings]] = SmsSettings

    async def open(self, connection: SmsConnection, base_folder: str) -> aiohttp.ClientSession:
        """One session for all runs on a connection."""
        return guarded_session(allow_private=connection.allow_private, limit=connection.concurrency)

    async def close(self, resource: aiohttp.ClientSession) -> None:
        """Closes it."""
        await resource.close()

    async def run(self, settings: SmsSettings, context: Context) -> Mapping[str, Any]:
        """Sends once. Output: id."""
        connection: SmsConnection = context.connection
        headers = {
            "Authorization": f"Bearer {connection.token.get_secret_value()}",
            "Idempotency-Key": context.delivery_id,  # the same at every attempt
        }
        message = {"to": settings.to, "text": settings.text}
        try:
            async with context.resource.post(
                connection.url, json=message, headers=headers, allow_redirects=False
            ) as response:
                status, after = response.status, response.headers.get("Retry-After")
                answer = await response.json() if status == 200 else {}
        except aiohttp.ClientError as error:
            raise Retry(f"the service is not reached: {type(error).__name__}") from None
        if status == 429 or status >= 500:
            raise Retry(f"the service answered {status}", after_seconds=retry_after_seconds(after, context.now()))
        if status != 200:
            raise Reject(f"the service answered {status}: look at the number, or at the connection's token")
        return {"id": answer.get("id")}

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """The service is reached."""
        try:
            async with context.resource.head(context.connection.url, allow_redirects=False) as response:
                yield Finding.good(f"answers {response.status} to HEAD: reached")
        except aiohttp.ClientError as error:
            yield Finding.bad(f"is not reached: {type(error).__name__}", "look at url, DNS and firewall")
