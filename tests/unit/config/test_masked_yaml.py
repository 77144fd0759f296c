"""Secrets never show: the masked text of gateway.yaml, and drafts that cannot look anything up."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.diagnostics.problem import ConfigError
from gateway.config.draft import load_draft
from gateway.config.load import Config, load
from gateway.config.secrets.masked_yaml import masked_files, masked_settings, masked_text, routes_text

TEXT = """\
version: 1   # the token was hunter2-token once
admin: {token: hunter2-token, viewer_token: "${VIEWER:-viewer-default}"}
store: {url: "sqlite:///data/gateway.db"}
accounts:
  acme:
    signing_secrets: [whsec_literal, "${ACME_SECRET}"]
    api_key: 'sk_live_\\u0031'
connections:
  shop: {type: database, url: "postgresql://shop:pass%2Fword@db.example/shop"}
  mail:
    type: smtp
    host: mail.example
    from: a@b.example
    password: >-
      folded-secret
  warehouse:
    type: http
    url: https://user:inurl@warehouse.example/hooks
    headers: {X-Token: "Bearer abc.def"}
    signing_secret: "${file:secret.txt}"
vars: {greeting: Hello}
routes:
  fulfil:
    events: [checkout.session.completed]
    actions:
      ship: {uses: http_forward, with: {connection: warehouse, body: "{{ vars.greeting }}"}}
"""
SECRETS = ("hunter2-token", "viewer-default", "whsec_literal", "whsec_env", "sk_live_", "pass%2Fword", "folded-secret", "inurl", "abc.def", "ZmlsZV9zZWNyZXQ")  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "gateway.yaml").write_text(TEXT)
    (tmp_path / "secret.txt").write_text("whsec_ZmlsZV9zZWNyZXQ=\n")
    (tmp_path / "gateway.env").write_text("STOLEN=yes\n")
    return load(tmp_path / "gateway.yaml", {"ACME_SECRET": "whsec_env"})


def test_no_secret_is_in_the_masked_text_and_the_rest_is_as_written(config: Config) -> None:
    ((name, text),) = masked_files(config)
    assert name == "gateway.yaml"
    for secret in SECRETS:
        assert secret not in text, secret
    for kept in ("sqlite:///data/gateway.db", '"${ACME_SECRET}"', "${file:secret.txt}", "vars: {greeting: Hello}"):
        assert kept in text
    assert "${VIEWER:-***}" in text


def test_no_secret_is_in_the_masked_settings(config: Config) -> None:
    text = str(masked_settings(config))
    for secret in SECRETS:
        assert secret not in text, secret
    assert "warehouse.example/hooks" in text


def test_a_text_that_is_not_yaml_is_masked_line_by_line() -> None:
    assert masked_text("token: 'hunter2\n  - [whsec_x\n") == "token: ***\n  - ***\n"


def test_a_draft_begins_with_the_routes_and_loads(config: Config) -> None:
    drafted = load_draft(config, routes_text(config))
    assert [route.name for route in drafted.routes] == ["fulfil"]
    assert drafted.vars == {"greeting": "Hello"}
    assert drafted.connections is config.connections


def draft(body: str) -> str:
    action = f"{{uses: email, with: {{connection: mail, to: a@b.example, subject: s, text: {body}}}}}"
    return f"routes:\n  r:\n    events: [customer.created]\n    actions:\n      ship: {action}\n"


def test_a_draft_reads_no_variable_and_no_secret(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_SECRET", "whsec_env")
    drafted = load_draft(config, draft('"${ACME_SECRET} ${file:secret.txt} ${OTHER:-default}"'))
    rendered = drafted.routes[0].actions[0].settings.render({"event": {}, "object": {}})
    assert rendered.kept["text"] == "<ACME_SECRET> <file:secret.txt> default"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (draft("{template: gateway.env}"), "there is no template file 'gateway.env'"),
        (draft("\"{% include 'gateway.env' %}\""), "there is no template file 'gateway.env'"),
        (draft("{template: secret.txt}"), "there is no template file 'secret.txt'"),
        (draft("{template: gateway.yaml}"), "there is no template file 'gateway.yaml'"),
        (draft("{template: /etc/passwd}"), "lies outside the folder of gateway.yaml"),
        ("include: [secret.txt]\n" + draft("x"), "a draft holds routes and vars, not include"),
        ("plugins: [evil]\n" + draft("x"), "a draft holds routes and vars, not plugins"),
        ("accounts: {a: {signing_secrets: [x]}}\n" + draft("x"), "a draft holds routes and vars, not accounts"),
        (draft("x").replace("connection: mail", "connection: mial"), "did you mean mail?"),
        ("a: &a [*a]", "a draft holds routes and vars, not a"),
        ("routes: {" + "x" * 70_000, "it is longer than 64 KiB"),
        ("", "expected a mapping"),
    ],
)
def test_what_a_draft_may_not_hold_is_told(config: Config, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_draft(config, text)
    assert words in str(caught.value)
    assert "STOLEN" not in str(caught.value)


def test_a_draft_does_not_tell_which_files_there_are(config: Config) -> None:
    with pytest.raises(ConfigError) as caught:
        load_draft(config, draft("{template: gateway.yml}"))
    assert str(caught.value).endswith("there is no template file 'gateway.yml'")  # without: did you mean gateway.yaml?
    for name in ("gateway.env", "nothing.env"):
        load_draft(config, draft(f"\"{{% include '{name}' ignore missing %}}\""))


def test_the_console_is_not_open_to_others_without_a_token(tmp_path: Path) -> None:
    bad = TEXT.replace("admin: {token: hunter2-token", 'admin: {listen: "0.0.0.0:8081"')
    (tmp_path / "gateway.yaml").write_text(bad)
    (tmp_path / "secret.txt").write_text("whsec_ZmlsZV9zZWNyZXQ=\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "gateway.yaml", {"ACME_SECRET": "x"})
    (problem,) = [one for one in caught.value.problems if one.severity == "error"]
    assert (problem.code, problem.hint) == ("open-console", "set admin.token, or listen on 127.0.0.1")
    assert problem.message == "without admin.token only this machine may reach the console, not 0.0.0.0"
    same = TEXT.replace('"${VIEWER:-viewer-default}"', "hunter2-token")
    (tmp_path / "gateway.yaml").write_text(same)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "gateway.yaml", {"ACME_SECRET": "x"})
    (problem,) = [one for one in caught.value.problems if one.severity == "error"]
    assert problem.code == "same-token"
    assert problem.message == "is the same as admin.token: it would make operators of viewers"
