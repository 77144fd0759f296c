"""`approve`: an action is held until a person says yes, by a link of a message, the console's API, or a terminal."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.core.model import Delivery, DeliveryFilter, DeliveryState
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.integration.live_gateway import SECRET, LiveGateway, live_gateway
from tests.waiting import until

PLUGIN = '''\
import os
from typing import Annotated, Any, ClassVar
from gateway.plugin import Action, Reject, Settings, Text

class TellSettings(Settings):
    text: Annotated[str, Text()]

class Tell(Action[TellSettings]):
    """Writes a line."""
    name: ClassVar[str] = "tell"
    Settings: ClassVar[type[Settings]] = TellSettings
    async def run(self, settings: TellSettings, context: Any) -> Any:
        if os.path.exists(context.base_folder + "/refuses"):
            raise Reject("answered 422: cannot post " + settings.text)
        with open(context.base_folder + "/told.txt", "a") as out:
            out.write(settings.text + "\\n")
        return {"text": settings.text}
'''
CONFIG = f"""\
version: 1
plugins: [plugins]
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0", url: "https://gateway.example/", token: operators-token, viewer_token: viewers-token}}
reload: {{watch: false}}
accounts:
  acme: {{signing_secrets: [{SECRET}]}}
routes:
  dunning:
    events: [invoice.payment_failed]
    order_by: object.customer
    actions:
      ask: {{uses: tell, with: {{text: "{{{{ approval.url }}}}"}}}}
      cancel:
        uses: tell
        approve: {{by: [Finance], within: WITHIN, else: ELSE}}
        with: {{text: "cancelled {{{{ object.subscription }}}}"}}
"""


def config(within: str = "2d", otherwise: str = "cancel") -> str:
    return CONFIG.replace("WITHIN", within).replace("ELSE", otherwise)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[LiveGateway]:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/tell.py").write_text(PLUGIN)
    async with live_gateway(tmp_path, config()) as running:
        yield running


async def delivery(gateway: LiveGateway, action: str) -> Delivery:
    store = SqliteStore(gateway.folder / "data/gateway.db")
    await store.attach()
    try:
        listed = await store.deliveries(DeliveryFilter(actions=(action,)), limit=9)
        detail = await store.delivery(listed[0].id)
        assert detail is not None
        return detail[0]
    finally:
        await store.close()


async def held(gateway: LiveGateway, **invoice: object) -> tuple[Delivery, str]:
    """An event of whose two actions one is held; that, and the path of the link that the other told."""
    event = make_event("invoice.payment_failed", object={"customer": "cus_1", "subscription": "sub_1", **invoice})
    assert await gateway.post(event) == 200

    async def is_held() -> bool:
        return (await delivery(gateway, "cancel")).word.until is not None and bool(told(gateway))

    await until(is_held)
    return await delivery(gateway, "cancel"), told(gateway)[-1].removeprefix("https://gateway.example")


def told(gateway: LiveGateway) -> list[str]:
    path = gateway.folder / "told.txt"
    return path.read_text().split("\n")[:-1] if path.exists() else []


async def by_link(gateway: LiveGateway, path: str, answer: str | None = None, name: str = "") -> tuple[int, str]:
    """Opens the link, or sends its form; status and page."""
    async with aiohttp.ClientSession() as session:
        asked = (
            session.get(gateway.admin_url + path)
            if answer is None
            else session.post(gateway.admin_url + path, data={"answer": answer, "name": name})
        )
        async with asked as response:
            return response.status, await response.text()


async def by_api(gateway: LiveGateway, path: str, token: str = "operators-token", name: str = "") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}", "X-Gateway-User": name}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{gateway.admin_url}/api/v1{path}", json={}) as response,
    ):
        return response.status, await response.text()


async def test_who_opens_the_link_decides_nothing_and_who_sends_its_form_decides_once(gateway: LiveGateway) -> None:
    waits, link = await held(gateway)
    assert (waits.state, waits.attempts, waits.order_key) == (DeliveryState.PENDING, 0, None)
    assert (waits.reason or "").startswith("waits for a yes by Finance until ")
    for _ in range(2):
        status, page = await by_link(gateway, link)
        assert status == 200
        assert "Yes, do it" in page
    assert (await delivery(gateway, "cancel")).word.is_awaited
    assert "operators-token" not in page
    status, page = await by_link(gateway, link, "approve", "Ada")
    assert status == 200
    assert "Approved by <bdi>Ada by link</bdi>" in page
    ended = (await gateway.finished())["cancel"]
    assert (ended.state, ended.attempts, ended.word.approved_by) == (DeliveryState.SUCCEEDED, 1, "Ada by link")
    assert told(gateway)[-1] == "cancelled sub_1"
    assert (await by_link(gateway, link, "refuse"))[0] == 409
    audit = await gateway.page("/audit", "viewers-token")
    assert "delivery.approve" in audit
    assert "Ada by link (127.0.0.1)" in audit


async def test_a_link_that_is_not_whole_or_of_another_key_leads_nowhere(gateway: LiveGateway) -> None:
    _, link = await held(gateway)
    for wrong in (link[:-1], link[:-1] + ("0" if link[-1] != "0" else "1"), "/approve/x.y", "/approve/\u00e9.z"):
        assert (await by_link(gateway, wrong, "approve"))[0] == 404
    assert (await by_link(gateway, link, "perhaps"))[0] == 422
    assert (await delivery(gateway, "cancel")).word.is_awaited


async def test_who_may_look_sees_no_link(gateway: LiveGateway) -> None:
    _, link = await held(gateway)
    page = await gateway.page(f"/deliveries/{(await delivery(gateway, 'ask')).id}", "viewers-token")
    assert link not in page
    assert "https://gateway.example/approve/[link]" in page


async def test_who_may_look_sees_no_link_in_what_a_service_says_of_it_either(gateway: LiveGateway) -> None:
    (gateway.folder / "refuses").touch()
    assert await gateway.post(make_event("invoice.payment_failed", object={"customer": "cus_1"})) == 200
    await until(lambda: is_dead(gateway, "ask"))
    refused = await delivery(gateway, "ask")
    said = "answered 422: cannot post https://gateway.example/approve/[link]"
    assert (refused.reason, refused.last_error) == (said, said)


async def is_dead(gateway: LiveGateway, action: str) -> bool:
    return (await delivery(gateway, action)).state is DeliveryState.DEAD


async def test_who_is_signed_in_and_comes_from_a_mail_can_answer(gateway: LiveGateway) -> None:
    """The browser holds the session's cookie back from a link in a mail, and sends it with the form."""
    _, link = await held(gateway)
    url = gateway.admin_url + link
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        await browser.post(f"{gateway.admin_url}/sign-in", data={"token": "viewers-token", "name": "Ada"})
        async with aiohttp.request("GET", url, headers={"Sec-Fetch-Site": "cross-site"}) as from_mail:
            assert f'http-equiv="refresh" content="0; url={link}"' in await from_mail.text()
        async with browser.get(url, headers={"Sec-Fetch-Site": "same-origin"}) as asked:
            form = {"answer": "approve", "csrf": re.findall(r'name="csrf" value="([0-9a-f]+)"', await asked.text())[-1]}
        async with browser.post(url, data=form) as answered:
            assert answered.status == 200
            assert "Approved by <bdi>Finance by link</bdi>" in await answered.text()


async def test_a_no_cancels_and_a_retry_asks_anew_with_links_used_up(gateway: LiveGateway) -> None:
    waits, link = await held(gateway)
    assert (await by_link(gateway, link, "refuse", "Ben"))[0] == 200
    refused = (await gateway.finished())["cancel"]
    assert (refused.state, refused.reason) == (DeliveryState.CANCELLED, "refused by Ben by link")
    assert (await by_api(gateway, f"/deliveries/{waits.id}/retry"))[0] == 200

    async def asks_anew() -> bool:
        word = (await delivery(gateway, "cancel")).word
        return word.is_awaited and word.is_link_used

    await until(asks_anew)
    assert (await by_link(gateway, link, "approve"))[0] == 410
    assert (await by_api(gateway, f"/deliveries/{waits.id}/approve", name="finance"))[0] == 200
    assert (await gateway.finished())["cancel"].state is DeliveryState.SUCCEEDED


async def test_only_who_is_asked_may_answer(gateway: LiveGateway) -> None:
    waits, _ = await held(gateway)
    path = f"/deliveries/{waits.id}/approve"
    status, text = await by_api(gateway, path, name="Maria")
    assert status == 403
    assert "it waits for Finance, and you are signed in as Maria" in text
    assert (await by_api(gateway, path, token="viewers-token"))[0] == 403
    assert (await by_api(gateway, f"/deliveries/{(await delivery(gateway, 'ask')).id}/approve"))[0] == 409
    assert (await by_api(gateway, path, name="finance"))[0] == 200
    status, text = await by_api(gateway, path, name="finance")
    assert status == 409
    assert "finance has approved it" in text


async def test_one_that_is_held_holds_up_nobody_of_its_key(gateway: LiveGateway) -> None:
    await held(gateway)
    assert await gateway.post(make_event("invoice.payment_failed", object={"customer": "cus_1"})) == 200
    await until(lambda: len(told(gateway)) == 2)


@pytest.mark.parametrize(
    ("otherwise", "state", "line"),
    [("cancel", DeliveryState.CANCELLED, None), ("run", DeliveryState.SUCCEEDED, "cancelled sub_1")],
)
async def test_what_nobody_answers_in_time_is_cancelled_or_runs(
    gateway: LiveGateway, otherwise: str, state: DeliveryState, line: str | None
) -> None:
    gateway.write("gateway.yaml", config("1ms", otherwise))
    assert (await gateway.reloader.reload("test")).problems == ()
    event = make_event("invoice.payment_failed", object={"customer": "cus_1", "subscription": "sub_1"})
    assert await gateway.post(event) == 200
    ended = (await gateway.finished())["cancel"]
    assert (ended.state, line in told(gateway)) == (state, line is not None)
    if state is DeliveryState.CANCELLED:
        assert ended.reason == "nobody of Finance said yes in time"
