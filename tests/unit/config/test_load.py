"""gateway.yaml: what loads, and the exact words for what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.diagnostics.problem import ConfigError
from gateway.config.load import Config, load
from gateway.config.partial import StoreAddress, load_store_address
from gateway.core.model import Fetch

GOOD = """\
version: 1
accounts:
  acme: {signing_secrets: [whsec_a]}
connections:
  shop: {type: database, url: "sqlite:///shop.db"}
  mail: {type: smtp, host: localhost, from: a@b.example}
routes:
  fulfil:
    events: [checkout.session.completed]
    actions:
      receipt:
        uses: email
        needs: [save]
        with: {connection: mail, to: "{{ object.email }}", subject: Hello, text: Thanks}
      save:
        uses: db_upsert
        with:
          connection: shop
          table: orders
          key: {id: "{{ object.id }}"}
"""


def loaded(folder: Path, text: str, **environ: str) -> Config:
    (folder / "gateway.yaml").write_text(text)
    return load(folder / "gateway.yaml", environ)


def problems(folder: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, **environ)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("token", "is_told"), [("hunter2-hunter2", True), ("a" * 40, True), ("0123456789abcdef" * 2, False)]
)
def test_a_token_that_is_short_for_signing_links_of_approve_is_warned_of(
    tmp_path: Path, token: str, is_told: bool
) -> None:
    asks = GOOD.replace(
        "        uses: db_upsert\n", "        uses: db_upsert\n        approve: {by: [operator], within: 1d}\n"
    )
    admin = f"admin: {{url: 'https://a.example', token: {token}}}\n"
    told = [warning.message for warning in loaded(tmp_path, admin + asks).warnings]
    assert told == is_told * ["whoever has a link of `approve` can try tokens on it, and this one is short"]
    assert loaded(tmp_path, admin + GOOD).warnings == ()


def test_a_good_config_loads_with_actions_in_the_order_of_their_needs(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD)
    (route,) = config.routes
    assert [action.name for action in route.actions] == ["save", "receipt"]
    assert route.actions[1].connection == "mail"
    rendered = route.actions[0].settings.render({"object": {"id": "cs_1"}})
    assert rendered.settings.key.render() == {"id": "cs_1"}
    assert rendered.kept["key"] == {"id": "cs_1"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("host: localhost", "host: localhost, breaker: {failurs: 3}", "gateway.yaml:6:49: connections.mail.breaker.failurs: "
         "unknown key failurs\n    did you mean failures?"),
        ("host: localhost", "host: localhost, breaker: 5", "gateway.yaml:6:48: connections.mail.breaker: expected a mapping, "
         "found 5"),
        ("version: 1", "version: 2", "gateway.yaml:1:10: version: expected 1, found 2"),
        ("version: 1\n", "", "gateway.yaml:1:1: is missing version"),
        ("whsec_a]", "whsec_a], mode: 1", "gateway.yaml:3:38: accounts.acme.mode: unknown key mode\n"
         "    did you mean livemode?"),
        ("{signing_secrets: [whsec_a]}", "{}", "gateway.yaml:3:3: accounts.acme: is missing signing_secrets"),
        ("whsec_a", "'${NOT_SET}'", "gateway.yaml:3:29: accounts.acme.signing_secrets[0]: the environment variable NOT_SET "
         "is not set\n    set it, or give a default: ${NOT_SET:-...}"),
        ("type: smtp", "type: stmp", "gateway.yaml:6:16: connections.mail.type: unknown type of connection 'stmp'\n"
         "    did you mean smtp?"),
        ("uses: email", "uses: emial", "gateway.yaml:12:15: routes.fulfil.actions.receipt.uses: unknown action 'emial'\n"
         "    did you mean email?"),
        ("needs: [save]", "needs: [saev]", "gateway.yaml:13:17: routes.fulfil.actions.receipt.needs[0]: unknown action "
         "'saev' in needs\n    did you mean save?"),
        ("connection: shop", "connection: shp", "gateway.yaml:18:23: routes.fulfil.actions.save.with.connection: unknown "
         "connection 'shp'\n    did you mean shop?"),
        ("connection: shop", "connection: mail", "gateway.yaml:18:23: routes.fulfil.actions.save.with.connection: mail is "
         "a connection of type smtp; db_upsert needs database"),
        ("table: orders", "tabel: orders", "gateway.yaml:19:11: routes.fulfil.actions.save.with.tabel: unknown key tabel\n"
         "    did you mean table?"),
        ("subject: Hello", "subject: [a]", "gateway.yaml:14:69: routes.fulfil.actions.receipt.with.subject: expected text, "
         "found a list"),
        (", text: Thanks", "", "gateway.yaml:14:9: routes.fulfil.actions.receipt.with: give text or html, or both"),
        ("    actions:", "    order_by: object.\n    actions:", None),
        ("[checkout.session.completed]", "['checkout session']", "gateway.yaml:9:14: routes.fulfil.events[0]: 'checkout "
         "session' is no event type or glob\n    such as customer.subscription.*"),
        ("table: orders", "table: orders\n          table: again", "gateway.yaml:20:11: "
         "routes.fulfil.actions.save.with.table: table is there twice\n    first at "),
        ("uses: db_upsert", "uses: db_upsert\n        timeout: 11m", "gateway.yaml:17:18: "
         "routes.fulfil.actions.save.timeout: a timeout is more than 0 and at most 10m"),
        ("uses: db_upsert", "uses: db_upsert\n        needs: [receipt]", "gateway.yaml:13:9: "
         "routes.fulfil.actions.receipt.needs: needs go in a circle: receipt -> save -> receipt"),
        ("    actions:", "    accounts: [acm]\n    actions:", "gateway.yaml:10:16: routes.fulfil.accounts[0]: unknown "
         "account 'acm'\n    did you mean acme?"),
        ("    actions:", "    fetch: true\n    actions:", "gateway.yaml:10:5: routes.fulfil.fetch: account acme has no "
         "api_key to ask Stripe with\n    set accounts.acme.api_key to a restricted key that may read what these events "
         "are about"),
        ("    actions:", "    fetch: {expand: [line_items, Line]}\n    actions:", "gateway.yaml:10:34: "
         "routes.fulfil.fetch.expand[1]: expected a field to expand, at most four deep, such as line_items.data.price, "
         "found text 'Line'"),
        ("    actions:", "    fetch: {expnad: [line_items]}\n    actions:", "gateway.yaml:10:13: "
         "routes.fulfil.fetch.expnad: unknown key expnad\n    did you mean expand?"),
        ("    actions:", "    connected_accounts: [all]\n    actions:", "gateway.yaml:10:26: "
         "routes.fulfil.connected_accounts[0]: expected the id of a connected account (acct_...), \"*\" or none, found "
         "text 'all'"),
        ("[checkout.session.completed]", "[v1.customer.created]", "gateway.yaml:9:14: routes.fulfil.events[0]: "
         "v1.customer.created is a thin event: it names its object and does not hold it\n    add fetch: true, or fetch: "
         "false if the actions need no more than object.id"),
        ("{signing_secrets: [whsec_a]}", "{signing_secrets: [whsec_a], api_version: latest}", "gateway.yaml:3:51: "
         "accounts.acme.api_version: expected a version of Stripe's API, such as 2026-10-28.endive, found text 'latest'"),
        ("{signing_secrets: [whsec_a]}", "{signing_secrets: [whsec_a], connected_accounts: {shop: {}}}", "gateway.yaml:3:59"
         ": accounts.acme.connected_accounts.shop: expected the id of a connected account, such as "
         "acct_1Sb9KxQ4mTz7Yp2L, found text 'shop'"),
        ("version: 1", "version: 1\nstore: {url: \"postgresql://a:b@db/x\", password: c}", "gateway.yaml:2:49: store.password: "
         "stands in url too: leave it out in one of the two places"),
        ("version: 1", "version: 1\nstore: {url: \"postgresql://db/x\", password: c}", "gateway.yaml:2:45: store.password: "
         "url names no user that it would be of: postgresql://USER@host/database"),
        ("version: 1", "version: 1\nstore: {password: c}", "gateway.yaml:2:19: store.password: is nothing that a file of "
         "SQLite has: leave it out"),
        ("version: 1", "version: 1\nstripe: {api_base: \"http://stripe.example\"}", "gateway.yaml:2:20: stripe.api_base: "
         "expected https://..., because API keys are sent there"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, expected: str | None) -> None:
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    if expected is None:
        assert "order_by" in "\n".join(found)
    else:
        assert any(one.startswith(expected) for one in found), found


def test_all_mistakes_are_told_in_one_run(tmp_path: Path) -> None:
    text = GOOD.replace("uses: email", "uses: emial").replace("connection: shop", "connection: shp")
    assert len(problems(tmp_path, text.replace("version: 1", "version: 1\nbogus: 1"))) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "gateway.yaml:1:5: the file ends too early"),
        ("a: &x [*x]", "gateway.yaml:1:4: a[0]: an alias may not contain itself"),
        ("", "gateway.yaml:1:1: expected a mapping"),
        ("- 1", "gateway.yaml:1:1: expected a mapping"),
        ("version: 1\n---\nversion: 1", "gateway.yaml:2:1: a second document begins here"),
    ],
)
def test_what_is_no_config_at_all_is_told(tmp_path: Path, text: str, expected: str) -> None:
    assert any(one.startswith(expected) for one in problems(tmp_path, text))


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert any("through its aliases" in one for one in problems(tmp_path, "\n".join(lines)))


def test_variables_are_filled_in_and_words_stay_text(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("whsec_file\n")
    text = (
        GOOD.replace("[whsec_a]", '["${A:-x$}", "${file:secret}"]')
        + "vars:\n  a: on\n  b: ${N}\n  c: '$${N}'\n  d: '${N}'\n"
    )
    config = loaded(tmp_path, text, N="5")
    assert config.accounts["acme"].signing_secrets == ("x$", "whsec_file")
    assert config.vars == {"a": "on", "b": 5, "c": "${N}", "d": "5"}


@pytest.mark.parametrize("content", [b"whsec_file", b"whsec_file\n", b"whsec_file\r\n", b"whsec_file\r"])
def test_a_secret_file_is_read_without_its_line_end_of_any_system(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    config = loaded(tmp_path, GOOD.replace("[whsec_a]", '["${file:secret}"]'))
    assert config.accounts["acme"].signing_secrets == ("whsec_file",)
    (tmp_path / "secret").write_bytes(b"two\r\nlines\r\n")
    assert loaded(tmp_path, GOOD + 'vars: {a: "${file:secret}"}\n').vars == {"a": "two\r\nlines"}


def test_includes_add_routes_and_a_name_twice_is_told_with_both_places(tmp_path: Path) -> None:
    (tmp_path / "routes").mkdir()
    extra = "routes:\n  second:\n    events: ['*']\n    actions: {save: {uses: db_upsert, with: {connection: shop, "
    extra += 'table: t, key: {id: "{{ event.id }}"}}}}\n'
    (tmp_path / "routes/a.yaml").write_text(extra)
    config = loaded(tmp_path, "include: [routes/*.yaml]\n" + GOOD)
    assert [route.name for route in config.routes] == ["fulfil", "second"]
    (tmp_path / "routes/b.yaml").write_text(extra)
    found = problems(tmp_path, "include: [routes/*.yaml]\n" + GOOD)
    assert found == [
        f"routes/b.yaml:2:3: routes.second: second is there twice\n    first at {tmp_path}/routes/a.yaml:2:3"
    ]


def test_secrets_are_in_no_message(tmp_path: Path) -> None:
    text = GOOD.replace("signing_secrets: [whsec_a]", "signing_secrets: whsec_topsecret").replace(
        "sqlite:///shop.db", "oracle://me:topsecret@host/db"
    )
    assert "topsecret" not in "\n".join(problems(tmp_path, text))


def test_the_store_is_found_though_all_else_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("store: {url: 'sqlite:///x.db'}\naccounts: ${NOT_SET}\n")
    assert load_store_address(tmp_path / "gateway.yaml", {}) == StoreAddress(tmp_path, "sqlite:///x.db")


def test_commands_read_store_compress_from_a_variable_as_the_gateway_does(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(GOOD + "store: {url: 'sqlite:///x.db', compress: '${COMPRESS}'}\n")
    for said, compresses in {"false": False, "no": False, "true": True}.items():
        environ = {"COMPRESS": said}
        assert load(tmp_path / "gateway.yaml", environ).settings.store.compress is compresses
        assert load_store_address(tmp_path / "gateway.yaml", environ).compresses is compresses


def test_a_password_of_the_store_stands_beside_its_url_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(GOOD + "store: {url: postgresql://gateway@db/inbox, password: '${DB}'}\n")
    environ = {"DB": "p/@:ss"}
    assert (
        load(tmp_path / "gateway.yaml", environ).settings.store.address()
        == "postgresql://gateway:p%2F%40%3Ass@db/inbox"
    )
    assert load_store_address(tmp_path / "gateway.yaml", environ).url == "postgresql://gateway:p%2F%40%3Ass@db/inbox"


def test_a_plugin_folder_brings_an_action_and_its_faults_are_told(tmp_path: Path) -> None:
    folder = Path(__file__).parents[3] / "config/examples/every-action/plugins"
    text = GOOD.replace("version: 1", f"version: 1\nplugins: ['{folder}', bad]") + (
        "      audit: {uses: audit_file, with: {path: a.txt, line: {id: '{{ event.id }}'}}}\n"
    )
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/broken.py").write_text("x = 1\nimport nothing_of_that_name\n")
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith("bad/broken.py:2:1: does not import: ModuleNotFoundError: No module named")
    (tmp_path / "bad/broken.py").unlink()
    assert loaded(tmp_path, text).routes[0].action("audit") is not None


def test_an_action_whose_check_fails_is_told_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/odd.py").write_text(
        "from gateway.plugin import Action, Settings\n\n\nclass OddSettings(Settings):\n    a: int = 1\n\n"
        "    @classmethod\n    def check(cls, given):\n        raise KeyError('a')\n\n\n"
        "class Odd(Action):\n    name = 'odd'\n    Settings = OddSettings\n"
    )
    text = GOOD.replace("version: 1", "version: 1\nplugins: [plugins]") + "      odd: {uses: odd}\n"
    assert problems(tmp_path, text) == [
        "gateway.yaml:22:7: routes.fulfil.actions.odd.with: the check of action odd fails: KeyError"
    ]


def test_what_a_plugin_keeps_as_a_secret_is_masked_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/odd.py").write_text(
        "from pydantic import SecretStr\nfrom gateway.plugin import Action, Settings\n\n\n"
        "class OddSettings(Settings):\n    pin: SecretStr\n    count: int\n\n\n"
        "class Odd(Action):\n    name = 'odd'\n    Settings = OddSettings\n"
    )
    text = GOOD.replace("version: 1", "version: 1\nplugins: [plugins]")
    text += "      odd: {uses: odd, with: {pin: hunter2hunter2, count: hunter2hunter2}}\n"
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    (problem,) = caught.value.problems
    assert problem.message == "expected an integer, found text '***'"
    assert problem.excerpt is not None
    assert problem.excerpt.text == "      odd: {uses: odd, with: {pin: ***, count: ***}}"


def test_fetch_is_a_word_or_a_mapping(tmp_path: Path) -> None:
    with_key = GOOD.replace("[whsec_a]}", "[whsec_a], api_key: sk_test_1, api_rate: 600/m}")
    found = {}
    for given in ("true", "false", "{}", "{expand: [a, b.data.c, a], api_version: 2024-06-20, again: true}"):
        config = loaded(tmp_path, with_key.replace("    actions:", f"    fetch: {given}\n    actions:", 1))
        found[given] = config.routes[0].fetch
    assert list(found.values()) == [Fetch(), None, Fetch(), Fetch(("a", "b.data.c"), "2024-06-20", True)]
    assert config.accounts["acme"].api_per_second == 10.0


def test_a_thin_pattern_with_fetch_false_loads(tmp_path: Path) -> None:
    text = GOOD.replace("[checkout.session.completed]", "[v1.customer.created]\n    fetch: false")
    assert loaded(tmp_path, text).routes[0].fetch is None


def test_connected_accounts_are_known_with_their_vars(tmp_path: Path) -> None:
    text = GOOD.replace("[whsec_a]}", "[whsec_a], connected_accounts: {acct_1: {vars: {channel: a}}}}")
    config = loaded(tmp_path, text.replace("    actions:", "    connected_accounts: [acct_1, none]\n    actions:", 1))
    assert config.accounts["acme"].connected_vars == {"acct_1": {"channel": "a"}}
    assert config.routes[0].connected_accounts == {"acct_1", "none"}
    assert loaded(tmp_path, GOOD).routes[0].connected_accounts == {"none"}
