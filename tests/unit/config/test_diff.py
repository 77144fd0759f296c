"""What changes from one configuration to another: names, never values."""

from __future__ import annotations

from pathlib import Path

from gateway.config.diff import compare, orphans
from gateway.config.load import Config, load
from gateway.core.model import Lane

BASE = """\
version: 1
vars: {shop: one}
accounts:
  acme: {signing_secrets: [whsec_one], livemode: true}
  other: {signing_secrets: [whsec_other]}
connections:
  warehouse: {type: http, url: "https://warehouse.example/", headers: {Authorization: Bearer one}}
  spare: {type: http, url: "https://spare.example/"}
  sales: {type: slack, webhook_url: "https://hooks.example/"}
routes:
  fulfil:
    events: [checkout.session.completed]
    if: object.amount_total > 1
    actions:
      ship: {uses: http_forward, with: {connection: warehouse}}
      tell: {uses: http_forward, needs: [ship], with: {connection: warehouse, headers: {X-One: "1"}}}
  refund:
    events: [charge.refunded]
    actions:
      post: {uses: slack, with: {connection: sales, text: {template: body.j2}}}
      ship: {uses: http_forward, with: {connection: warehouse}}
"""


def loaded(folder: Path, text: str, body: str = "one") -> Config:
    (folder / "body.j2").write_text(body)
    (folder / "gateway.yaml").write_text(text)
    return load(folder / "gateway.yaml", {})


def changes(folder: Path, *replaced: tuple[str, str], body: str = "one") -> list[str]:
    old, text = loaded(folder, BASE), BASE
    for what, by in replaced:
        assert text.count(what) == 1, what
        text = text.replace(what, by)
    return [str(change) for change in compare(old, loaded(folder, text, body))]


def test_a_comment_changes_nothing(tmp_path: Path) -> None:
    assert changes(tmp_path, ("version: 1", "version: 1  # of the format")) == []


def test_accounts_connections_routes_and_actions_are_named_with_the_keys_that_changed(tmp_path: Path) -> None:
    found = changes(
        tmp_path,
        ("livemode: true", "livemode: false, tolerance: 10m"),
        ("  other: {signing_secrets: [whsec_other]}\n", "  third: {signing_secrets: [whsec_third]}\n"),
        ("https://spare.example/", "https://spare.example/hooks"),
        ("amount_total > 1", "amount_total > 2"),
        ('headers: {X-One: "1"}', 'headers: {X-Two: "1"}'),
        ("  refund:\n", "  refunds:\n"),
    )
    assert found == [
        "account acme changed: livemode, tolerance",
        "account third added",
        "account other removed",
        "connection spare changed: url",
        "route fulfil changed: if",
        "route refunds added",
        "route refund removed",
        "action fulfil.tell changed: with.headers.X-Two, with.headers.X-One",
        "action refunds.post added",
        "action refunds.ship added",
        "action refund.post removed",
        "action refund.ship removed",
    ]


def test_secrets_show_as_changed_and_never_themselves(tmp_path: Path) -> None:
    found = changes(tmp_path, ("whsec_one", "whsec_two"), ("Bearer one", "Bearer two"))
    assert found == ["account acme changed: signing_secrets", "connection warehouse changed: headers.Authorization"]


def test_a_template_file_that_changed_is_named(tmp_path: Path) -> None:
    assert changes(tmp_path, body="two") == ["file body.j2 changed"]


def test_what_only_a_start_takes_says_so(tmp_path: Path) -> None:
    more = """\
version: 1
server: {listen: "127.0.0.1:9000", max_body: 2MiB}
store: {url: "sqlite:///elsewhere.db", retention: 10d}
log: {level: debug}
tracing: {endpoint: "http://localhost:4318"}
defaults: {timeout: 5s}
"""
    assert changes(tmp_path, ("version: 1\n", more), ("shop: one", "shop: two")) == [
        "setting vars.shop changed",
        "setting log.level changed (needs a restart)",
        "setting server.listen changed (needs a restart)",
        "setting server.max_body changed",
        "setting store.url changed (needs a restart)",
        "setting store.retention changed",
        "setting tracing changed (needs a restart)",
        "setting defaults.timeout changed",
    ]


def test_waiting_deliveries_whose_action_route_or_account_goes_are_orphans(tmp_path: Path) -> None:
    old = loaded(tmp_path, BASE)
    text = BASE.replace("  refund:\n", "  refunds:\n").replace("      tell:", "      say:")
    new = loaded(tmp_path, text.replace("  other: {signing_secrets: [whsec_other]}\n", ""))
    waiting = {
        Lane("acme", "fulfil", "ship"): 4,
        Lane("acme", "fulfil", "tell"): 3,
        Lane("acme", "refund", "ship"): 2,
        Lane("other", "fulfil", "ship"): 1,
        Lane("acme", "long-gone", "ship"): 9,  # known to neither: not this change's doing
    }
    assert [str(orphan) for orphan in orphans(waiting, old, new)] == [
        "3 waiting of action fulfil.tell for account acme",
        "2 waiting of action refund.ship for account acme",
        "1 waiting of action fulfil.ship for account other",
    ]
    assert orphans(waiting, old, old) == ()
