"""A signing secret is rolled while 200 events a second come, and Stripe signs with both in between: none is refused."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import aiohttp

from gateway.testing import make_event, signed_request
from tests.in_process import SECRET as OLD
from tests.in_process import config, gateway

NEW = "whsec_after_the_roll"
A_SECOND = 200
EVENTS = 5 * A_SECOND
BOTH_FROM, NEW_FROM = A_SECOND, 4 * A_SECOND  # answers after which Stripe signs with both, and with the new one alone
CONFIGS = [([OLD], 2 * A_SECOND), ([OLD, NEW], 3 * A_SECOND), ([NEW], EVENTS)]  # each until so many are answered


def signed_headers(body: bytes, answered: int) -> dict[str, str]:
    """As Stripe signs after so many events."""
    secrets = [OLD] if answered < BOTH_FROM else [NEW, OLD] if answered < NEW_FROM else [NEW]
    now = int(time.time())
    first, *others = [signed_request(body, secret, timestamp=now) for secret in secrets]
    schemes = [one["Stripe-Signature"].partition(",")[2] for one in others]
    return {**first, "Stripe-Signature": ",".join([first["Stripe-Signature"], *schemes])}


async def test_no_event_is_refused_while_a_secret_is_rolled(tmp_path: Path) -> None:
    answers: Counter[int] = Counter()
    url = ""
    changed = asyncio.Condition()

    async def post(session: aiohttp.ClientSession, i: int) -> None:
        body = json.dumps(make_event(id=f"evt_{i}")).encode()
        while True:
            async with changed:
                await changed.wait_for(lambda: url)
            headers = signed_headers(body, answers.total())
            try:
                async with session.post(url, data=body, headers=headers) as response:
                    status = response.status
            except aiohttp.ClientConnectionError:
                status = 503
            if status == 503:  # it restarts; Stripe, too, would come again
                await asyncio.sleep(0.01)
                continue
            async with changed:
                answers[status] += 1
                changed.notify_all()
            return

    async def send() -> None:
        start = time.monotonic()
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as posts:
            for i in range(EVENTS):
                await asyncio.sleep(start + i / A_SECOND - time.monotonic())  # the rate
                posts.create_task(post(session, i))

    sending = asyncio.create_task(send())
    for secrets, until in CONFIGS:
        text = config("", "http://127.0.0.1:9").replace(f"[{OLD}]", f"[{', '.join(secrets)}]").replace("routes:\n", "")
        async with gateway(tmp_path, text) as running:
            async with changed:
                url = f"{running.url}/webhooks/acme"
                changed.notify_all()
                await changed.wait_for(lambda until=until: answers.total() >= until)  # type: ignore[misc]
            if until == EVENTS:
                await sending
                assert answers == {200: EVENTS}
                assert await running.store.counts() == {"events": EVENTS}
            url = ""
