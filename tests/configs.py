"""Configurations for tests, written to a folder and loaded."""

from __future__ import annotations

from pathlib import Path

from gateway.config.load import Config, load

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
