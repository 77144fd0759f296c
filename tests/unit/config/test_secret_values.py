"""Which values that variables and files bring are hidden, wherever they turn up."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.diagnostics.problem import ConfigError
from gateway.config.load import Config, load
from gateway.config.secrets import masking
from gateway.config.secrets.names import is_hidden
from tests.configs import HEAD, ORDERS


@pytest.mark.parametrize(
    "value",
    [
        "", "a", "abc", "true", "False", "null", "on", "80", "8080", "65535",  # these whatever their names say
    ],
)  # fmt: skip
def test_what_is_too_short_or_too_common_to_be_told_from_other_text_is_never_hidden(value: str) -> None:
    assert not is_hidden(value, True)
    assert not is_hidden(value, False)


@pytest.mark.parametrize(
    "value",
    [
        "production", "debug", "eu-central-1", "Acme Shop", "de_DE", "euros", "1200s", "1.5 MiB", "1000/s", "123456789",
        "localhost", "localhost:8080", "db:5432", "db.internal", "db.internal:5432", "10.1.0.7", "10.1.0.0/16", "[::1]:80",
        "https://shop.example", "https://shop.example:8443/", "orders@acme.example", "/var/lib/gateway", "/run/secrets/x",
        "sqlite:/data/gateway.db",
    ],
)  # fmt: skip
def test_what_is_plainly_no_secret_is_hidden_only_where_a_name_says_that_it_is(value: str) -> None:
    assert not is_hidden(value, False)
    assert is_hidden(value, True)


@pytest.mark.parametrize(
    "value",
    [
        "hunter2", "Xk29fjs83hfK#9", "7f3a9c", "sk_live_a1b2", "correct-horse-battery-staple", "QwErTyUiOp", "pass word!",
        "https://me:pw@shop.example", "https://hooks.slack.example/services/T0/B0/x", "https://shop.example/?key=x",
        "eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG_HACGpVUMN_a9IV7pAx_Zmeo", "a\nb\nc d", "x" * 30, "1" * 20,
    ],
)  # fmt: skip
def test_anything_else_is_hidden_whatever_its_name(value: str) -> None:
    assert is_hidden(value, False)


def config_of(folder: Path, text: str, previous: Config | None = None, **environ: str) -> Config:
    (folder / "gateway.yaml").write_text(HEAD + ORDERS + text)
    return load(folder / "gateway.yaml", environ, previous)


def test_a_reference_stands_for_what_a_variable_or_a_file_brought(tmp_path: Path) -> None:
    (tmp_path / "pw.txt").write_text("of a file 1!\n")
    text = (
        "vars: {a: 'Bearer ${SHOP_VALUE}', b: '${file:pw.txt}', c: '${URL}', d: '${STAGE:-d3fault}', e: '${STAGE}'}\n"
    )
    config = config_of(
        tmp_path, text, SHOP_VALUE='of "a" variable', URL="https://me:p%23w12@db.example/x", STAGE="live"
    )
    masked = config.references.mask
    assert masked({"x": ['Bearer of "a" variable']}) == {"x": ["Bearer ${SHOP_VALUE}"]}
    assert masked('{"x": "of \\"a\\" variable"}') == '{"x": "${SHOP_VALUE}"}'  # as it stands in JSON
    assert masked("?x=of+%22a%22+variable&y=of%20%22a%22%20variable") == "?x=${SHOP_VALUE}&y=${SHOP_VALUE}"
    assert masked("of a file 1!") == "${file:pw.txt}"
    assert masked("to https://me:p%23w12@db.example/x with p#w12") == "to ${URL} with ***"
    assert masked("pass-topsecret") == "***"  # the password in a connection's url, which no variable brought
    assert masked("live and d3fault are no secrets") == "live and d3fault are no secrets"
    assert config.masker.mask("of a file 1!") == "***"


def test_a_short_secret_hides_no_number_of_an_output(tmp_path: Path) -> None:
    config = config_of(tmp_path, "vars: {a: '${SHARD_KEY}', b: '${DEBUG_TOKEN}'}\n", SHARD_KEY="1", DEBUG_TOKEN="true")
    output = {"rows": 1, "ok": "true", "of": "1 of 12"}
    assert config.references.mask(output) == output


def test_values_of_configurations_before_stay_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "MOST_REMEMBERED", 30)
    config = None
    for number in range(90):
        config = config_of(tmp_path, "vars: {a: '${SHOP_VALUE}'}\n", config, SHOP_VALUE=f"value #{number}")
    assert config is not None
    assert config.masker.mask("value #61") == "***"
    assert config.masker.mask("value #30") == "value #30"
    assert len(config.hidden) < 30 + 50


def test_a_secret_key_within_a_key_is_hidden_where_something_beside_it_is_wrong(tmp_path: Path) -> None:
    oauth2 = '{token_url: "https://a.example", client_id: a, parameters: {audience: hidden-one, x: [hidden-two]}}'
    connection = f'{{type: http, url: "https://b.example", oauth2: {oauth2}, tls: {{cert: a, pasword: hidden-three}}}}'
    (tmp_path / "gateway.yaml").write_text(f"version: 1\nconnections:\n  app: {connection}\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "gateway.yaml", {})
    shown = repr(caught.value.problems)
    assert "did you mean password?" in shown
    assert "parameters.x" in shown
    assert "hidden-" not in shown
