"""Configurations for tests: one builder of gateway.yaml, and one that is written to a folder and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from gateway.config.load import Config, load
from tests.acceptance.harness import FORWARD_SECRET, SECRET

SQLITE = "sqlite:///data/gateway.db"
SHOP = 'type: database, url: "sqlite:///data/shop.db"'
SHIP = """\
  fulfil:
    events: [checkout.session.completed]
    actions:
      ship: {uses: http_forward, with: {connection: warehouse}}
"""
SAVE_AND_SHIP = """\
  fulfil:
    events: [checkout.session.*]
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: orders
          ensure_table: true
          key: {event_id: "{{ event.id }}"}
          values: {amount: "{{ object.amount_total }}"}
      ship: {uses: http_forward, needs: [save], with: {connection: warehouse}}
"""


def http(url: str, more: str = "") -> str:
    """A connection to a service on this machine, which is signed for."""
    return f'type: http, url: "{url}", signing_secret: {FORWARD_SECRET}, allow_private: true' + (more and f", {more}")


def gateway_yaml(
    *,
    port: int = 0,
    admin: int = 0,
    server: str = "",
    console: str = "",
    secrets: str = SECRET,
    accounts: str = "",
    connections: Mapping[str, str] = MappingProxyType({}),
    routes: str = "",
    **sections: str,
) -> str:
    """A gateway.yaml that listens on this machine alone, at free ports where none is said, with an account `acme`.

    What is inside the braces of a section or a connection is given as it stands in YAML; `server` and `console` are
    what is beside the two addresses. `accounts` are whole lines: more of `acme`, indented by four, then other accounts.
    """
    flows = {
        "server": f'listen: "127.0.0.1:{port}"{server and f", {server}"}',
        "admin": f'listen: "127.0.0.1:{admin}"{console and f", {console}"}',
        **sections,
    }
    lines = ["version: 1", *(f"{name}: {{{flow}}}" for name, flow in flows.items())]
    signing = f"signing_secrets: [{secrets}]"
    acme = f"  acme:\n    {signing}" if accounts.startswith("    ") else f"  acme: {{{signing}}}"
    lines += ["accounts:", acme, *accounts.splitlines()]
    if connections:
        lines += ["connections:", *(f"  {name}: {{{flow}}}" for name, flow in connections.items())]
    return "\n".join(lines) + (f"\nroutes:\n{routes}" if routes else "\n")


HEAD = """\
version: 1
accounts:
  acme: {signing_secrets: [whsec_topsecret1], api_key: sk_test_topsecret4}
  live: {signing_secrets: [whsec_topsecret2], api_key: sk_live_topsecret5, livemode: true}
connections:
  shop: {type: database, url: "postgresql://me:pass-topsecret@db.example/shop"}
  mail: {type: smtp, host: localhost, from: a@b.example, password: mail-topsecret}
  warehouse: {type: http, url: "https://warehouse.example/hooks", signing_secret: whsec_dG9wc2VjcmV0}
  team: {type: slack, webhook_url: "https://hooks.slack.example/topsecret3"}
"""
ORDERS = """\
routes:
  orders:
    events: [checkout.session.*]
    if: object.payment_status == 'paid'
    once_per: object.id
    actions:
      save: {uses: db_upsert, with: {connection: shop, table: orders, key: {id: "{{ object.id }}"}, values: {amount: "{{ object.amount_total }}"}}}
      receipt:
        uses: email
        needs: [save]
        with: {connection: mail, to: "{{ object.customer_details.email }}", subject: Hello, text: "{{ object.amount_total | money(object.currency) }}"}
      ship: {uses: http_forward, needs: [save], with: {connection: warehouse}}
      tell: {uses: slack, needs: [ship], if: object.amount_total >= 10000, with: {connection: team, text: "{{ steps.ship.output.status }}"}}
"""  # noqa: E501


def loaded(folder: Path, routes: str = ORDERS, head: str = HEAD, **environ: str) -> Config:
    """A loaded gateway.yaml in that folder."""
    (folder / "gateway.yaml").write_text(head + routes)
    return load(folder / "gateway.yaml", environ)
