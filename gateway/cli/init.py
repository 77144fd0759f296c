"""gateway init: writes a commented gateway.yaml to start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.app import app, fail, options

_TEXT = """\
# Stripe events in; what the routes say, out. `gateway check` finds mistakes, `gateway explain` shows effects.
version: 1

server:
  listen: 127.0.0.1:8080        # Stripe posts to /webhooks/{account}; TLS ends in front of it

store:
  url: sqlite:///data/gateway.db

accounts:
  {account}:
    signing_secrets: ["${{{variable}}}"]   # whsec_..., from the endpoint's page in Stripe's dashboard

connections:
  shop: {{type: database, url: "sqlite:///data/shop.db"}}

routes:
  record-order:
    events: [checkout.session.completed, checkout.session.async_payment_succeeded]
    if: object.payment_status != 'unpaid'
    once_per: object.id
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: orders
          ensure_table: true
          key: {{session_id: "{{{{ object.id }}}}"}}
          values:
            email: "{{{{ object.customer_details.email }}}}"
            amount: "{{{{ object.amount_total }}}}"
            currency: "{{{{ object.currency }}}}"
"""


@app.command()
def init(
    account: Annotated[str, typer.Option(help="The name of your Stripe account here.")] = "acme",
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a commented gateway.yaml and gateway.env to start from."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", account):
        raise fail(f"{account!r} is no name: letters, digits, _ . - only, a letter first", 2)
    variable = re.sub(r"[^A-Z0-9]", "_", account.upper()) + "_SIGNING_SECRET"
    env = options.config.with_name("gateway.env")
    files: dict[Path, str] = {
        options.config: _TEXT.format(account=account, variable=variable),
        env: f"# Secrets, kept out of gateway.yaml: set -a; . ./gateway.env; set +a\n{variable}=\n",
    }
    there = [str(path) for path in files if path.exists()]
    if there and not force:
        raise fail(f"{' and '.join(there)} exist already; --force overwrites")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path == env:
            path.chmod(0o600)
        print(f"wrote {path}")
    print(f"next: put the signing secret into {env}, load it, and run: gateway check && gateway serve")
