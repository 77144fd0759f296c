"""gateway init: what it writes is checked good and passes its own test, whatever was answered."""

from __future__ import annotations

import itertools
import os
import pty
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.init_files import Choices, Secrets, starter
from gateway.config.load import load
from tests.cli import CommandLine
from tests.waiting import HANG_SECONDS

ROOT = Path(__file__).parents[3]
SECRETS = Secrets("whsec_c2lnbmluZw==", "whsec_Zm9yd2FyZA==", "https://hooks.slack.com/services/A/B/C")
COMBINATIONS = list(
    itertools.product(
        ("orders", "subscriptions", "both"),
        ("", "Shop <orders@shop.example>"),
        ("", "https://service.example/hooks"),
        (False, True),
        ("sqlite:///data/shop.db", "postgresql://me:pw%20@db.example/shop", "${SHOP_URL}"),
    )
)


def env_of(text: str) -> dict[str, str]:
    """The variables of an env file, as a shell reads them."""
    return {name: value.strip("'") for name, value in re.findall(r"^(\w+)=(.*)$", text, re.M)}


@pytest.mark.parametrize(("sells", "mail", "forward", "slack", "database"), COMBINATIONS)
def test_every_combination_of_answers_loads_without_warnings_and_passes_its_test(
    tmp_path: Path, gateway_cli: CommandLine, sells: Any, mail: str, forward: str, slack: bool, database: str
) -> None:
    choices = Choices("acme", sells, database, "127.0.0.1:8080", mail, forward, slack)
    files = starter(choices, SECRETS)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    config = load(tmp_path / "gateway.yaml", {"SHOP_URL": "sqlite:///shop.db", **env_of(files["gateway.env"])})
    assert config.warnings == ()
    ran = gateway_cli("--config", tmp_path / "gateway.yaml", "test")
    assert (ran.code, ran.err) == (0, ""), ran.out
    assert re.fullmatch(r"\d+ passed, 0 failed\n", ran.out)
    assert "pw%20" not in files["gateway.yaml"]


@pytest.mark.parametrize("account", ["acme", "null", "on", "shop-eu.1", "_x"])
def test_any_name_of_an_account_will_do(tmp_path: Path, gateway_cli: CommandLine, account: str) -> None:
    config = tmp_path / "gateway.yaml"
    assert gateway_cli("--config", config, "init", "--yes", "--account", account).code == 0
    assert gateway_cli("--config", config, "test").code == 0


def test_init_then_check_then_test(tmp_path: Path, gateway_cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "new/gateway.yaml"
    words = ("--sells", "both", "--mail-from", "a@b.example", "--forward", "https://x.example/h", "--slack")
    ran = gateway_cli("--config", config, "init", *words, "--url", "https://hooks.example/")
    assert (ran.code, ran.err) == (0, "")
    env = tmp_path / "new/gateway.env"
    assert ran.out == (
        f"wrote {config}\nwrote {env}\nwrote {tmp_path}/new/config/tests/routes.yaml\n"
        f"wrote {tmp_path}/new/config/templates/receipt.html.j2\n"
        "register https://hooks.example/webhooks/acme as an endpoint in Stripe's dashboard\n"
        f"next: put your secrets into {env}; load it: set -a; . {env}; set +a\n"
        "then: gateway check && gateway test && gateway serve\n"
    )
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    for name, value in env_of(env.read_text()).items():
        monkeypatch.setenv(name, value)
    assert gateway_cli("--config", config, "check").out == f"{config}: good (4 routes, 9 actions, 1 accounts)\n"
    assert gateway_cli("--config", config, "test").code == 0


def test_stand_in_secrets_are_random(tmp_path: Path, gateway_cli: CommandLine) -> None:
    found = set()
    for name in ("a", "b"):
        gateway_cli("--config", tmp_path / name / "gateway.yaml", "init", "--yes")
        found.add(env_of((tmp_path / name / "gateway.env").read_text())["ACME_SIGNING_SECRET"])
    assert len(found) == 2


def test_what_is_there_is_not_overwritten_without_force(tmp_path: Path, gateway_cli: CommandLine) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("mine")
    ran = gateway_cli("--config", config, "init", "--yes")
    assert (ran.code, ran.out, ran.err) == (1, "", f"{config} exists already; --force overwrites\n")
    assert config.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [config]
    assert gateway_cli("--config", config, "init", "--yes", "--force").code == 0
    assert config.read_text().startswith("# Stripe events in")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--account", "a b"), "'a b': a name is letters, digits, _ . - with a letter first\n"),
        (("--sells", "cars"), "'cars': expected orders, subscriptions or both\n"),
        (("--database", "oracle://x"), "'oracle://x': expected sqlite:///relative.db, postgresql://..., mysql://... or "
         "${VARIABLE}\n"),
        (("--mail-from", "nobody"), "'nobody': expected an address, such as orders@shop.example or Shop "
         "<orders@shop.example>\n"),
        (("--forward", "ftp://x"), "'ftp://x': expected https://host/path\n"),
        (("--listen", "8080"), "'8080': expected host:port, such as 127.0.0.1:8080\n"),
        (("--url", "hooks"), "'hooks': --url: expected https://host\n"),
    ],
)  # fmt: skip
def test_a_flag_that_is_no_good_is_exit_2(
    tmp_path: Path, gateway_cli: CommandLine, words: tuple[str, ...], message: str
) -> None:
    ran = gateway_cli("--config", tmp_path / "gateway.yaml", "init", *words)
    assert (ran.code, ran.err) == (2, message)
    assert list(tmp_path.iterdir()) == []


def test_in_a_git_repository_the_secrets_are_ignored(tmp_path: Path, gateway_cli: CommandLine) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("/data/\n*.log")
    ran = gateway_cli("--config", tmp_path / "gateway.yaml", "init", "--yes")
    assert f"listed gateway.env in {tmp_path}/.gitignore\n" in ran.out
    assert (tmp_path / ".gitignore").read_text() == "/data/\n*.log\ngateway.env\n"
    gateway_cli("--config", tmp_path / "gateway.yaml", "init", "--yes", "--force")
    assert (tmp_path / ".gitignore").read_text() == "/data/\n*.log\ngateway.env\n"


def _read_until(terminal: int, end: bytes) -> bytes:
    """What a program prints until it waits for an answer."""
    shown = b""
    while not shown.rstrip(b"\r\n").endswith(end):
        shown += os.read(terminal, 4096)
    return shown


def test_at_a_terminal_the_questions_are_asked_and_a_wrong_answer_is_asked_again(tmp_path: Path) -> None:
    answers = ["shop", "everything", "both", "", "orders@shop.example", "", "y", "", "whsec_typed", ""]
    master, slave = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    command = [sys.executable, "-m", "gateway", "--config", str(tmp_path / "gateway.yaml"), "init"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True) as run:
        os.close(slave)
        shown = b""
        for answer in answers:
            question = _read_until(master, b": ")
            shown += question
            os.write(master, f"{answer}\n".encode())
        shown += _read_until(master, b"gateway serve")
        assert run.wait(HANG_SECONDS) == 0, shown.decode()
    os.close(master)
    assert b"expected orders, subscriptions or both" in shown
    assert env_of((tmp_path / "gateway.env").read_text())["SHOP_SIGNING_SECRET"] == "whsec_typed"
    text = (tmp_path / "gateway.yaml").read_text()
    assert 'from: "orders@shop.example"' in text
    assert "keep-subscriptions:" in text
    assert 'webhook_url: "${SLACK_WEBHOOK_URL}"' in text
