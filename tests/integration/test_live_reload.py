"""A gateway that runs takes what its files say now."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog import get_logger
from structlog.testing import capture_logs

from gateway.app.control_socket import NobodyAnswersError, ask
from gateway.config.diagnostics.problem import Problem
from gateway.config.load import Config
from gateway.config.reload import Reloader
from gateway.config.runtime import ReloadOutcome
from gateway.core.errors import Where
from gateway.testing import make_event
from tests.certificates import self_signed
from tests.cli import CommandLine
from tests.configs import gateway_yaml
from tests.integration.live_gateway import NOTE_PLUGIN, SECRET, live_gateway
from tests.waiting import until

PLUGIN = NOTE_PLUGIN.replace("OUTPUT", '{"said": "ONE " + settings.text}')


def config(text: str = "one", more: str = "", secret: str = SECRET) -> str:
    route = f"""\
  noted:
    events: [checkout.session.completed]
    actions:
      note: {{uses: note, with: {{text: "{text}"}}}}
{more}"""
    return "include: [routes/*.yaml]\nplugins: [plugins]\n" + gateway_yaml(secrets=f'"{secret}"', routes=route)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("plugins", "routes", "secrets", "templates"):
        (tmp_path / name).mkdir()
    (tmp_path / "plugins/note.py").write_text(PLUGIN)
    return tmp_path


async def test_each_kind_of_file_is_watched_and_taken(folder: Path) -> None:
    (folder / "secrets/acme").write_text(SECRET)
    (folder / "templates/text.j2").write_text("from a file")
    start = config(secret="${file:secrets/acme}", text="one")
    async with live_gateway(folder, start) as gateway:

        async def changed_by(name: str, text: str) -> list[str]:
            known = len(gateway.live.history)
            gateway.write(name, text)
            await until(lambda: len(gateway.live.history) > known)
            assert gateway.live.last.outcome is ReloadOutcome.LOADED, gateway.live.last.problems
            assert gateway.live.last.asked_by == "a changed file"
            return [str(change) for change in gateway.live.last.changes]

        assert await changed_by("gateway.yaml", start.replace('"one"', '"two"')) == [
            "action noted.note changed: with.text"
        ]
        extra = """\
routes:
  more:
    events: [checkout.session.completed]
    actions:
      extra: {uses: note, with: {text: {template: templates/text.j2}}}
"""
        assert await changed_by("routes/new.yaml", extra) == [
            "route more added",
            "action more.extra added",
            "file templates/text.j2 added",
        ]
        assert await changed_by("plugins/note.py", PLUGIN.replace("ONE", "TWO")) == ["file plugins/note.py changed"]
        assert await changed_by("secrets/acme", "whsec_rolled") == ["account acme changed: signing_secrets"]
        assert await gateway.post(make_event()) == 401
        assert await gateway.post(make_event(), "whsec_rolled") == 200
        assert (await gateway.finished())["note"].output == {"said": "TWO two"}


async def test_a_configuration_that_does_not_load_changes_nothing_and_is_told_once(folder: Path) -> None:
    async with live_gateway(folder, config() + "\n") as gateway:
        version = gateway.live.config.version
        with capture_logs() as logs:
            gateway.write("gateway.yaml", config(more="    colour: red\n    size: 3\n"))
            await until(lambda: gateway.live.last.outcome is ReloadOutcome.REFUSED)
            for _ in range(3):
                await gateway.reloader.reload("SIGHUP")
        assert gateway.live.config.version == gateway.live.last.version == version
        assert [problem.where.line for problem in gateway.live.last.problems] == [13, 14]
        told = [log["problem"] for log in logs if log["event"] == "config.problem"]
        assert len(told) == 2
        assert all(f"{folder}/gateway.yaml:1{line}:5" in text for line, text in zip((3, 4), told, strict=True))
        assert [log["still_the_same"] for log in logs if log["event"] == "config.refused"] == [False, True, True, True]
        assert await gateway.post(make_event()) == 200
        assert (await gateway.finished())["note"].output == {"said": "ONE one"}
        gateway.write("gateway.yaml", config("two"))
        await until(lambda: gateway.live.last.outcome is ReloadOutcome.LOADED)
        assert gateway.live.counts == {ReloadOutcome.LOADED: 2, ReloadOutcome.REFUSED: 4}


async def test_console_and_metrics_say_that_the_files_do_not_load_until_they_do(folder: Path) -> None:
    async with live_gateway(folder, config() + "reload: {watch: false}\n") as gateway:
        alarm = "gateway.yaml does not load: the configuration before it stays in force."
        gateway.write("gateway.yaml", config(more="    colour: red\n"))
        await gateway.reloader.reload("SIGHUP")
        assert alarm in await gateway.page("/")
        assert "unknown key colour" in await gateway.page("/config")
        metrics = await gateway.page("/metrics")
        assert "gateway_config_last_reload_successful 0.0" in metrics
        assert 'gateway_config_reloads_total{outcome="failed"} 1.0' in metrics
        gateway.write("gateway.yaml", config("two"))
        await gateway.reloader.reload("SIGHUP")
        assert alarm not in await gateway.page("/")
        page = await gateway.page("/config")
        assert "action noted.note changed: with.text" in page
        assert f"<h1>Config <code>{gateway.live.config.version}</code></h1>" in page
        metrics = await gateway.page("/metrics")
        assert "gateway_config_last_reload_successful 1.0" in metrics
        assert 'gateway_config_reloads_total{outcome="loaded"} 1.0' in metrics


async def test_a_plugin_that_fails_in_an_unforeseen_way_ends_nothing(folder: Path) -> None:
    async with live_gateway(folder, config()) as gateway:
        odd = PLUGIN.replace(
            "    text: Annotated[str, Text()]\n",
            "    text: Annotated[str, Text()]\n    @classmethod\n    def check(cls, given: Any) -> Any: return 1 / 0\n",
        )
        gateway.write("plugins/note.py", odd)
        result = await gateway.reloader.reload("SIGHUP")
        assert result.outcome is ReloadOutcome.REFUSED
        assert [str(problem) for problem in result.problems] == [
            f"{folder}/gateway.yaml:12:26: routes.noted.actions.note.with:"
            " the check of action note fails: ZeroDivisionError"
        ]
        gateway.write("plugins/note.py", "raise SystemExit(3)\n")
        result = await gateway.reloader.reload("SIGHUP")
        (told, *_) = (str(problem) for problem in result.problems if problem.code == "plugin")
        assert told.startswith(f"{folder}/plugins/note.py:1:1: does not import: SystemExit: 3\n")
        assert await gateway.post(make_event()) == 200
        assert (await gateway.finished())["note"].output == {"said": "ONE one"}


async def test_a_failure_that_nobody_foresaw_is_a_problem_like_any_other(folder: Path) -> None:
    async def fail(previous: Config) -> Config:
        raise ZeroDivisionError("division by zero")

    def unasked(*_: object) -> Any:
        raise AssertionError

    async with live_gateway(folder, config()) as gateway:
        reloader = Reloader(gateway.live, fail, unasked, unasked, get_logger())
        result = await reloader.reload("SIGHUP")
    assert result.outcome is ReloadOutcome.REFUSED
    (problem,) = result.problems
    assert problem.code == "unreadable"
    assert str(problem) == f"{folder}/gateway.yaml:1:1: reading it failed: ZeroDivisionError: division by zero"


async def test_a_missing_file_that_turns_up_is_taken(folder: Path) -> None:
    async with live_gateway(folder, config()) as gateway:
        gateway.write("gateway.yaml", config().replace('{text: "one"}', "{text: {template: templates/late.j2}}"))
        await until(lambda: gateway.live.last.outcome is ReloadOutcome.REFUSED)
        (folder / "templates/late.j2").write_text("late")
        await until(lambda: gateway.live.last.outcome is ReloadOutcome.LOADED)


async def test_what_a_mount_swaps_by_its_link_is_taken(folder: Path) -> None:
    for version, secret in (("..1", SECRET), ("..2", "whsec_rolled")):
        (folder / "secrets" / version).mkdir()
        (folder / "secrets" / version / "acme").write_text(secret)
    (folder / "secrets/..data").symlink_to("..1")
    (folder / "secrets/acme").symlink_to("..data/acme")
    async with live_gateway(folder, config(secret="${file:secrets/acme}")) as gateway:
        (folder / "secrets/..new").symlink_to("..2")
        (folder / "secrets/..new").rename(folder / "secrets/..data")
        await until(lambda: gateway.live.last.changes)
        assert [str(change) for change in gateway.live.last.changes] == ["account acme changed: signing_secrets"]


async def test_without_watch_only_a_person_reloads(folder: Path) -> None:
    async with live_gateway(folder, config() + "reload: {watch: false}\n") as gateway:
        gateway.write("gateway.yaml", config("two") + "reload: {watch: false}\n")
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "gateway-watch"]
        assert (await gateway.reloader.reload("SIGHUP")).outcome is ReloadOutcome.LOADED


async def test_a_reload_that_finds_nothing_new_is_no_news(folder: Path) -> None:
    async with live_gateway(folder, config()) as gateway:
        loaded_at, actions = gateway.live.loaded_at, gateway.live.config.actions
        assert (await gateway.reloader.reload("SIGHUP")).outcome is ReloadOutcome.UNCHANGED
        assert (gateway.live.loaded_at, len(gateway.live.history)) == (loaded_at, 1)
        assert gateway.live.config.actions == actions  # the very same: what they keep open stays open


# -- the socket -----------------------------------------------------------------------------------------------


async def test_the_socket_brings_outcome_and_preview_back(folder: Path) -> None:
    async with live_gateway(folder, config() + "reload: {watch: false}\n") as gateway:
        version, path = gateway.live.config.version, folder / "data/gateway.sock"
        assert os.stat(path).st_mode & 0o777 == 0o600
        gateway.write("gateway.yaml", config("two") + "reload: {watch: false}\n")
        seen = await asyncio.to_thread(ask, path, "diff")
        assert (seen["outcome"], seen["was"], gateway.live.config.version) == ("loaded", version, version)
        assert [change["text"] for change in seen["changes"]] == ["action noted.note changed: with.text"]
        done = await asyncio.to_thread(ask, path, "reload")
        assert (done["outcome"], done["was"], done["version"]) == ("loaded", version, seen["version"])
        assert gateway.live.config.version == seen["version"]
        gateway.write("gateway.yaml", "version: [")
        refused = await asyncio.to_thread(ask, path, "reload")
        assert (refused["outcome"], refused["version"]) == ("refused", seen["version"])
        assert [(one["line"], one["column"], one["code"]) for one in refused["problems"]] == [(1, 11, "yaml")]
        assert "the file ends too early" in refused["report"]
    assert not path.exists()
    with pytest.raises(
        NobodyAnswersError, match=r"no gateway answers at .*gateway\.sock \(No such file or directory\)"
    ):
        ask(path, "reload")


async def test_a_draft_is_compared_in_the_place_of_the_file_in_force(
    folder: Path, gateway_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = config() + "reload: {watch: false}\n"
    async with live_gateway(folder, start) as gateway:
        version = gateway.live.config.version
        (folder / "draft.yaml").write_text(config("two") + "reload: {watch: false}\n")
        (folder / "wrong.yaml").write_text(start + "nonsense: 1\n")
        monkeypatch.chdir(folder)
        draft = await asyncio.to_thread(gateway_cli, "--config", "draft.yaml", "diff", "--exit-code")
        assert (draft.code, draft.out.splitlines()[1:]) == (1, ["  ~ action noted.note changed: with.text"])
        wrong = await asyncio.to_thread(gateway_cli, "--config", "wrong.yaml", "diff")
        assert wrong.code == 1
        assert f"{folder}/wrong.yaml:" in wrong.err
        assert f"1 error in {folder}/wrong.yaml" in wrong.err
        for same in ("gateway.yaml", f"{folder}/gateway.yaml"):
            own = await asyncio.to_thread(gateway_cli, "--config", same, "diff", "--exit-code")
            assert (own.code, own.out) == (0, f"nothing would change: {version} is in force\n")
        assert gateway.live.config.version == version
        assert len(gateway.live.history) == 1


async def test_a_socket_that_a_killed_gateway_left_is_replaced_and_a_living_one_is_not(folder: Path) -> None:
    long = "reload: {socket: " + "a-folder-with-a-rather-long-name/" * 4 + "gateway.sock}\n"
    path = folder / ("a-folder-with-a-rather-long-name/" * 4) / "gateway.sock"
    path.parent.mkdir(parents=True)
    here = Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind("gateway.sock")
    os.chdir(here)
    async with live_gateway(folder, config() + long) as gateway:
        assert (await asyncio.to_thread(ask, path, "diff"))["version"] == gateway.live.config.version
        other = folder / "other"
        other.mkdir()
        with capture_logs() as logs:
            text = 'version: 1\nserver: {listen: "127.0.0.1:0"}\nadmin: {listen: "127.0.0.1:0"}\n'
            text += f'reload: {{socket: "{path}"}}\n'
            async with live_gateway(other, text + "accounts:\n  acme: {signing_secrets: [whsec_one]}\n"):
                pass
        assert [log["error"] for log in logs if log["event"] == "control.unavailable"] == ["Address already in use"]
        assert (await asyncio.to_thread(ask, path, "diff"))["version"] == gateway.live.config.version


async def test_a_command_that_talks_nonsense_harms_nothing(folder: Path) -> None:
    async with live_gateway(folder, config()):
        path = str(folder / "data/gateway.sock")
        for said in (b"nonsense\n", b"\xff\n", b"", b"x" * 100_000):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(said)
            writer.write_eof()
            assert b"outcome" not in await reader.read()
            writer.close()
        assert (await asyncio.to_thread(ask, Path(path), "diff"))["outcome"] == "unchanged"


# -- TLS ------------------------------------------------------------------------------------------------------


async def serial(port: int) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    text = ssl.DER_cert_to_PEM_cert(shown)
    told = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=text, capture_output=True, text=True)
    return int(told.stdout.strip().removeprefix("serial="), 16)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
async def test_a_renewed_certificate_is_shown_to_new_connections_and_a_bad_one_is_refused(folder: Path) -> None:
    self_signed(folder, serial=1)
    text = config().replace('"127.0.0.1:0"', '"127.0.0.1:0", tls: {cert: cert.pem, key: key.pem}', 1)
    async with live_gateway(folder, text + "reload: {watch: false}\n") as gateway:
        port = int(gateway.url.rpartition(":")[2])
        assert await serial(port) == 1
        self_signed(folder, serial=2)
        assert await serial(port) == 1
        assert (await gateway.reloader.reload("SIGHUP")).problems == ()
        assert await serial(port) == 2
        (folder / "cert.pem").write_text("no certificate")
        (problem,) = (await gateway.reloader.reload("SIGHUP")).problems
        assert problem.message.startswith("server.tls: cannot read the certificate or key: ")
        assert await serial(port) == 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
async def test_renewing_the_certificate_again_and_again_refuses_no_connection(folder: Path) -> None:
    self_signed(folder, serial=1)
    text = config().replace('"127.0.0.1:0"', '"127.0.0.1:0", tls: {cert: cert.pem, key: key.pem}', 1)
    async with live_gateway(folder, text + "reload: {watch: false}\n") as gateway:
        port = int(gateway.url.rpartition(":")[2])
        shown: list[int] = []
        is_over = asyncio.Event()

        async def connect() -> None:
            while not is_over.is_set():
                shown.append(await serial(port))  # raises where it is refused or the handshake fails

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(connect())
            for number in range(2, 12):
                self_signed(folder, serial=number)
                assert (await gateway.reloader.reload("SIGHUP")).problems == ()
                await until(partial(shown.__contains__, number))
            is_over.set()
        assert set(shown) == set(range(1, 12))


async def test_what_is_read_is_in_force_once_all_processes_have_read_it(folder: Path) -> None:
    async with live_gateway(folder, config() + "reload: {watch: false}\n") as gateway:
        reloader, version = gateway.reloader, gateway.live.config.version
        gateway.write("gateway.yaml", config("two") + "reload: {watch: false}\n")
        begun = await reloader.begin("SIGHUP")
        assert begun.outcome is ReloadOutcome.LOADED
        assert gateway.live.config.version == version != begun.version
        # Another process refuses it: all stays as it was, and this one knows why.
        problem = Problem(Where("gateway.yaml", 1, 1), "does not load there", code="unreadable")
        refused = reloader.end([problem])
        assert (refused.outcome, refused.version, refused.problems) == (ReloadOutcome.REFUSED, version, (problem,))
        assert gateway.live.last is refused
        # The files changed while they were read: as if nothing had been.
        await reloader.begin("SIGHUP")
        reloader.abandon()
        assert gateway.live.last is refused
        # All have read it; another process counts it.
        await reloader.begin("SIGHUP")
        taken = reloader.end(is_told=False)
        assert taken.version == gateway.live.config.version == begun.version
        assert await gateway.post(make_event()) == 200
        assert (await gateway.finished())["note"].output == {"said": "ONE two"}
        metrics = await gateway.page("/metrics")
        assert 'gateway_config_reloads_total{outcome="loaded"} 0.0' in metrics
        assert 'gateway_config_reloads_total{outcome="failed"} 1.0' in metrics
