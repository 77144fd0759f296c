"""gateway init: writes a commented gateway.yaml to start from."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.app import BadUsage, app, fail, options

_TEXT = """\
# Stripe events in; what the routes say, out. `gateway check` finds mistakes, `gateway explain` shows effects.
version: 1

server:
  listen: {listen}        # Stripe posts to /webhooks/{account}; TLS ends in front of it

store:
  url: sqlite:///data/gateway.db   # the inbox: every event, and what is owed for it

defaults:
  timeout: 30s                     # of one attempt
  retry: {{attempts: 20, first: 5s, factor: 4, max: 6h}}   # spans 3.3 days: a weekend

accounts:
  {account}:
    signing_secrets: ["${{{variable}}}"]   # whsec_..., from the endpoint's page in Stripe's dashboard
    livemode: any                  # true or false: events of the other mode are kept, and ignored

# Named outside systems. Secrets come from the environment, ${{NAME}}, or from a file, ${{file:/run/secrets/name}}.
connections:
  shop: {{type: database, url: "{database}"}}
  # mail:      {{type: smtp, host: localhost, port: 587, from: "Acme <orders@acme.example>"}}
  # warehouse: {{type: http, url: https://warehouse.example/hooks, signing_secret: "${{WAREHOUSE_SECRET}}"}}
  # sales:     {{type: slack, webhook_url: "${{SLACK_WEBHOOK_URL}}"}}

routes:
  record-order:
    events: [checkout.session.completed, checkout.session.async_payment_succeeded]   # globs allowed: invoice.*
    if: object.payment_status != 'unpaid'
    once_per: object.id            # once for each Checkout Session, whichever event came first
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
      # receipt:
      #   uses: email
      #   needs: [save]
      #   with:
      #     connection: mail
      #     to: "{{{{ object.customer_details.email }}}}"
      #     subject: "Your order"
      #     text: "Thank you: {{{{ object.amount_total | money(object.currency) }}}}"
"""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_LISTEN = re.compile(r"[^\s:#'\"{}\[\],&*!|>%@`]+:\d{1,5}")
_DATABASE = re.compile(r"(sqlite|postgresql|mysql)://[^\s\"\\]+|\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_URL = re.compile(r"https?://[^\s/]+(/\S*)?")


def _asked(given: str | None, question: str, default: str, right: re.Pattern[str], hint: str) -> str:
    """The flag's value; else a person's answer; else, where nobody sits at the terminal, the default."""
    while True:
        asking = given is None and sys.stdin.isatty()
        value = typer.prompt(question, default=default, err=True) if asking else default if given is None else given
        if right.fullmatch(value):
            return str(value)
        if not asking:
            raise BadUsage(f"{value!r}: {hint}")
        print(hint, file=sys.stderr)


@app.command()
def init(
    account: Annotated[str | None, typer.Option(help="The name of your Stripe account here.")] = None,
    listen: Annotated[str | None, typer.Option(help="host:port of the public listener.")] = None,
    database: Annotated[str | None, typer.Option(help="URL of your shop's database.")] = None,
    url: Annotated[str | None, typer.Option(help="Where Stripe reaches this machine: https://hooks.example.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a commented gateway.yaml and gateway.env to start from. Asks for what no flag says."""
    env = options.config.with_name("gateway.env")
    there = [str(path) for path in (options.config, env) if path.exists()]
    if there and not force:
        raise fail(f"{' and '.join(there)} exist{'s' if len(there) == 1 else ''} already; --force overwrites")
    name = _asked(
        account,
        "Name of the Stripe account here",
        "acme",
        _NAME,
        "a name is letters, digits, _ . - with a letter first",
    )
    at = _asked(listen, "Listen on", "127.0.0.1:8080", _LISTEN, "expected host:port, such as 127.0.0.1:8080")
    shop = _asked(
        database,
        "URL of the shop's database",
        "sqlite:///data/shop.db",
        _DATABASE,
        "expected sqlite:///relative.db, postgresql://..., mysql://... or ${VARIABLE}",
    )
    public = "" if url is None else _asked(url, "", "", _URL, "--url: expected https://host")
    variable = re.sub(r"[^A-Z0-9]", "_", name.upper()) + "_SIGNING_SECRET"
    files: dict[Path, str] = {
        options.config: _TEXT.format(account=name, variable=variable, listen=at, database=shop),
        env: f"# Secrets, kept out of gateway.yaml: set -a; . ./gateway.env; set +a\n{variable}=\n",
    }
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path == env:
                path.touch(0o600)
                path.chmod(0o600)  # before the secret comes in, also where the file was there
            path.write_text(text)
        except OSError as error:
            raise fail(f"cannot write {path}: {error.strerror}") from None
        print(f"wrote {path}")
    if public:
        print(f"register {public.rstrip('/')}/webhooks/{name} as an endpoint in Stripe's dashboard")
    print(f"next: put the signing secret into {env}, load it, and run: gateway check && gateway serve")
