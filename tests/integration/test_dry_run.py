"""Dry runs: everything happens but the sending."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.core.model import DONE, DeliveryState
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.integration.live_gateway import SECRET, LiveGateway, live_gateway

PLUGIN = '''\
from typing import Any, ClassVar
from gateway.plugin import Action, Deferred, Settings

class NoteSettings(Settings):
    lines: Deferred[list[str]]
    other: Deferred[str] | None = None

class Note(Action[NoteSettings]):
    """Notes lines in a file."""
    name: ClassVar[str] = "note"
    Settings: ClassVar[type[Settings]] = NoteSettings
    async def run(self, settings: NoteSettings, context: Any) -> Any:
        with open(context.base_folder + "/notes.txt", "a") as out:
            out.write(context.action + "\\n")
        return {"count": len(settings.lines.render())}
'''


def config(route: str, actions: str) -> str:
    return f"""\
version: 1
plugins: [plugins]
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0"}}
reload: {{watch: false}}
defaults: {{retry: {{attempts: 1}}}}
accounts:
  acme: {{signing_secrets: [{SECRET}]}}
connections:
  shop: {{type: database, url: "sqlite:///shop.db"}}
routes:
  watched:
    events: [checkout.session.completed]
    {route}
    actions:
{actions}
"""


SAVE = """\
      save:
        uses: db_upsert
        dry_run: true
        with:
          connection: shop
          table: items
          ensure_table: true
          for_each: "{{ [1, 2, 3] }}"
          key: {id: "{{ event.id }}-{{ item }}"}
          values: {amount: "{{ object.amount_total }}"}
"""


async def deliver(gateway: LiveGateway, *events: dict[str, Any]) -> dict[str, Any]:
    for event in events or (make_event(),):
        assert await gateway.post(event) == 200
    return await gateway.finished()


def ready(folder: Path) -> Path:
    (folder / "plugins").mkdir()
    (folder / "plugins/note.py").write_text(PLUGIN)
    return folder


def notes(folder: Path) -> list[str]:
    return (folder / "notes.txt").read_text().split() if (folder / "notes.txt").exists() else []


async def test_nothing_is_sent_and_all_that_would_be_is_kept(tmp_path: Path) -> None:
    event = make_event(object={"amount_total": 99})
    async with live_gateway(ready(tmp_path), config("", SAVE)) as gateway:
        found = (await deliver(gateway, event))["save"]
    assert found.state is DeliveryState.SKIPPED
    assert found.reason == "dry run: nothing was sent (action save says dry_run)"
    assert found.rendered == {
        "connection": "shop",
        "table": "items",
        "ensure_table": True,
        "for_each": [1, 2, 3],
        "key": [{"id": f"{event['id']}-{i}"} for i in (1, 2, 3)],
        "values": [{"amount": 99}] * 3,
    }
    assert found.output is None
    assert not (tmp_path / "shop.db").exists()


async def test_what_an_action_renders_by_itself_is_rendered_for_a_plugin_too(tmp_path: Path) -> None:
    actions = """\
      note: {uses: note, with: {lines: ["{{ object.id }}", "two"], other: "{{ object.currency }}"}}
"""
    event = make_event()
    async with live_gateway(ready(tmp_path), config("dry_run: true", actions)) as gateway:
        found = (await deliver(gateway, event))["note"]
    assert found.reason == "dry run: nothing was sent (route watched says dry_run)"
    assert found.rendered == {"lines": [event["data"]["object"]["id"], "two"], "other": "eur"}
    assert notes(tmp_path) == []


async def test_the_dependents_of_a_dry_run_are_dry_and_say_what_they_cannot_know(tmp_path: Path) -> None:
    actions = (
        SAVE
        + """\
      plain: {uses: note, needs: [save], with: {lines: ["{{ object.id }}"]}}
      last: {uses: note, needs: [plain], with: {lines: ["x"]}}
      count: {uses: note, needs: [save], with: {lines: ["{{ steps.save.output.rows }}"]}}
      maybe: {uses: note, needs: [save], if: steps.save.output.rows > 1, with: {lines: ["x"]}}
      alone: {uses: note, with: {lines: ["x"]}}
"""
    )
    async with live_gateway(ready(tmp_path), config("", actions)) as gateway:
        found = await deliver(gateway)
    assert {name: one.state.value for name, one in found.items()} == {
        "save": "skipped", "plain": "skipped", "last": "skipped", "count": "skipped", "maybe": "skipped",
        "alone": "succeeded",
    }  # fmt: skip
    assert notes(tmp_path) == ["alone"]
    because = "(it needs save, of which nothing was sent either; retry that to send both)"
    assert found["plain"].reason == f"dry run: nothing was sent {because}"
    assert found["last"].reason == f"dry run: nothing was sent {because.replace('save', 'plain')}"
    begins = f"dry run: not rendered in full, because the output of save is not known ({tmp_path}/gateway.yaml:"
    assert found["count"].reason.startswith(begins)
    assert found["count"].reason.endswith(because)
    assert found["maybe"].reason.startswith(begins)


async def test_a_dry_run_that_would_be_a_dead_letter_is_none(tmp_path: Path) -> None:
    actions = """\
      note: {uses: note, dry_run: true, with: {lines: ["{{ object.nmae }}"]}}
      after: {uses: note, needs: [note], with: {lines: ["x"]}}
"""
    async with live_gateway(ready(tmp_path), config("", actions)) as gateway:
        found = await deliver(gateway)
    assert found["note"].state is DeliveryState.SKIPPED
    assert found["note"].reason.startswith(f"dry run: it would be a dead letter: {tmp_path}/gateway.yaml:16:")
    assert "nmae" in found["note"].reason
    assert found["after"].state is DeliveryState.SKIPPED


async def test_a_dry_run_whose_if_is_false_is_skipped_as_ever(tmp_path: Path) -> None:
    actions = """\
      note: {uses: note, dry_run: true, if: object.amount_total < 0, with: {lines: ["x"]}}
      after: {uses: note, needs: [note], with: {lines: ["x"]}}
"""
    async with live_gateway(ready(tmp_path), config("", actions)) as gateway:
        found = await deliver(gateway)
    assert found["note"].reason == "its `if` is false: object.amount_total < 0"
    assert found["after"].reason == "needed action note was skipped"


async def test_a_dry_run_takes_no_once_per_key(tmp_path: Path) -> None:
    actions = '      note: {uses: note, dry_run: true, with: {lines: ["x"]}}\n'
    once = "once_per: object.id"
    same = {"id": "cs_test_same"}
    async with live_gateway(ready(tmp_path), config(once, actions)) as gateway:
        first = await deliver(gateway, make_event(object=same))
        assert first["note"].reason == "dry run: nothing was sent (action note says dry_run)"
        gateway.write("gateway.yaml", config(once, actions.replace("dry_run: true, ", "")))
        assert (await gateway.reloader.reload("test")).problems == ()
        second = await deliver(gateway, make_event(object=same), make_event(object=same))
    assert second["note"].reason == f"once_per: {second['note'].reason.split()[1]} has done it"
    assert notes(tmp_path) == ["note"]


async def test_once_armed_a_retry_sends_what_was_dry_and_all_that_needs_it(tmp_path: Path) -> None:
    actions = """\
      note: {uses: note, dry_run: true, with: {lines: ["x"]}}
      after: {uses: note, needs: [note], with: {lines: ["{{ steps.note.output.count }} lines"]}}
      last: {uses: note, needs: [after], with: {lines: ["x"]}}
"""
    async with live_gateway(ready(tmp_path), config("", actions)) as gateway:
        found = await deliver(gateway)
        gateway.write("gateway.yaml", config("", actions.replace("dry_run: true, ", "")))
        assert (await gateway.reloader.reload("test")).problems == ()
        store = SqliteStore(tmp_path / "data/gateway.db")
        await store.attach()
        assert await store.retry([found["note"].id]) == {found["note"].id: DONE}
        await store.close()
        again = await gateway.finished()
    assert {name: one.state.value for name, one in again.items()} == dict.fromkeys(
        ("note", "after", "last"), "succeeded"
    )
    assert notes(tmp_path) == ["note", "after", "last"]
