"""Errors that one who tries the gateway out meets first: each names the way out."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from gateway.core.errors import cannot_listen
from gateway.store.sqlite.store import SqliteStore
from tests.cli import CommandLine
from tests.configs import gateway_yaml

TRY = "to try it without them: gateway --dev ..., which gives harmless values to what is not set\n"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capsys)


@pytest.mark.parametrize("words", [["send", "invoice.paid"], ["explain", "--id", "evt_1"]])
def test_what_is_not_set_leads_to_dev(words: list[str], command: CommandLine) -> None:
    Path("gateway.yaml").write_text(gateway_yaml(secrets='"${ACME_SECRET}"'))
    ran = command(*words)
    assert ran.err.endswith(TRY)
    assert TRY not in command("--dev", *words).err


def test_an_inbox_that_is_not_there_leads_to_that_of_dev(command: CommandLine) -> None:
    Path("gateway.yaml").write_text(gateway_yaml(store='url: "sqlite:///data/gateway.db"'))
    missing = f"there is no inbox at {Path('data/gateway.db').resolve()} yet; `gateway serve` makes it\n"
    assert command("events", "list").err == missing

    async def once() -> None:
        store = SqliteStore(Path("data/dev/gateway.db").resolve())
        await store.start()
        await store.close()

    asyncio.run(once())
    assert (
        command("events", "list").err == f"{missing}that of `gateway dev` is in data/dev: gateway --dev ... asks it\n"
    )
    assert command("--dev", "events", "list").code == 0
    Path("data/dev/gateway.sock").touch()
    assert command("diff").err.endswith("that of `gateway dev` is in data/dev: gateway --dev ... asks it\n")


def test_an_event_that_nobody_takes_says_what_would(command: CommandLine) -> None:
    Path("gateway.yaml").write_text(gateway_yaml(port=9))
    assert command("send", "invoice.paid").err.endswith("; `gateway serve` in another terminal starts one\n")
    assert command("--dev", "send", "invoice.paid").err.endswith("; `gateway dev` in another terminal starts one\n")


def test_a_port_that_is_taken_names_the_option() -> None:
    taken, forbidden = (OSError(number, os.strerror(number)) for number in (errno.EADDRINUSE, errno.EACCES))
    assert str(cannot_listen("admin.listen", "127.0.0.1:81", taken)) == (
        "admin.listen: cannot listen on 127.0.0.1:81: Address already in use; end the program that has it, or write "
        "another port in admin.listen"
    )
    assert str(cannot_listen("admin.listen", "127.0.0.1:81", forbidden)).endswith("127.0.0.1:81: Permission denied")
