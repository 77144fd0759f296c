"""What `gateway init` writes: a commented gateway.yaml, its env file, its templates, and a first test. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Sells = Literal["orders", "subscriptions", "both"]
ENV_FILE = "gateway.env"
TEMPLATE_FILE = "config/templates/receipt.html.j2"
TEST_FILE = "config/tests/routes.yaml"


@dataclass(frozen=True, slots=True)
class Choices:
    """The answers to the questions."""

    account: str = "acme"
    sells: Sells = "orders"
    database: str = "sqlite:///data/shop.db"  # or ${VARIABLE}
    listen: str = "127.0.0.1:8080"
    mail_from: str = ""  # empty: no mail
    forward: str = ""  # a URL; empty: no forwards
    slack: bool = False

    @property
    def orders(self) -> bool:
        """Whether things are sold that are paid once."""
        return self.sells in ("orders", "both")

    @property
    def subscriptions(self) -> bool:
        """Whether things are sold that are paid again and again."""
        return self.sells in ("subscriptions", "both")

    @property
    def secret_variable(self) -> str:
        """The variable with the account's signing secret."""
        return re.sub(r"[^A-Z0-9]", "_", self.account.upper()) + "_SIGNING_SECRET"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What goes into the env file. Stand-ins are random, so that nobody can sign with them."""

    signing: str  # whsec_...
    forward: str  # whsec_...
    slack_url: str


def starter(choices: Choices, secrets: Secrets) -> dict[str, str]:
    """Every file's text, by its path from the folder of gateway.yaml; the first is gateway.yaml itself."""
    files = {"gateway.yaml": _config(choices), ENV_FILE: _env(choices, secrets), TEST_FILE: _cases(choices)}
    if choices.orders and choices.mail_from:
        files[TEMPLATE_FILE] = _RECEIPT
    return files


def _fill(text: str, choices: Choices) -> str:
    for name, value in (
        ("account", choices.account),
        ("variable", choices.secret_variable),
        ("listen", choices.listen),
        ("database", _database(choices)),
        ("from", choices.mail_from),
        ("forward", choices.forward),
    ):
        text = text.replace(f"<{name}>", value)
    return text


def _database(choices: Choices) -> str:
    """A file is named in gateway.yaml; a server's URL holds a password, so it stands in the env file."""
    is_open = choices.database.startswith(("sqlite:", "${"))
    return choices.database if is_open else "${SHOP_DATABASE_URL}"


def _config(choices: Choices) -> str:
    mail, forward, slack = bool(choices.mail_from), bool(choices.forward), choices.slack
    parts = [_HEAD]
    for wanted, part in ((mail, _MAIL), (forward, _FORWARD), (slack, _SLACK)):
        if wanted:
            parts.append(part)
    parts.append("\nroutes:")
    if choices.orders:
        parts.append(_ORDERS)
        parts += [part for wanted, part in ((mail, _RECEIPT_MAIL), (forward, _SHIP), (slack, _TELL)) if wanted]
        parts += [_PAYMENT_FAILED] if mail else []
    if choices.subscriptions:
        parts.append(_SUBSCRIPTIONS)
        parts += [part for wanted, part in ((forward, _FORWARD_CHANGES), (slack, _TELL_CANCELLED)) if wanted]
        parts += [_INVOICE_FAILED] if mail else []
    return _fill("".join(parts), choices)


def _env(choices: Choices, secrets: Secrets) -> str:
    lines = [
        "# Secrets, kept out of gateway.yaml and out of git. Load them: set -a; . ./gateway.env; set +a",
        "# The signing secret stands on the endpoint's page in Stripe's dashboard (a random one stands in until then).",
        f"{choices.secret_variable}={secrets.signing}",
    ]
    if not choices.database.startswith(("sqlite:", "${")):
        lines.append(f"SHOP_DATABASE_URL='{choices.database}'")
    if choices.mail_from:
        lines += ["SMTP_HOST=localhost", "SMTP_PORT=587", "SMTP_USERNAME=", "SMTP_PASSWORD="]
    if choices.forward:
        lines += ["# Made for you: give it to the service, which verifies forwards with it (standardwebhooks.com).",
                  f"FORWARD_SECRET={secrets.forward}"]  # fmt: skip
    if choices.slack:
        lines += ["# An incoming webhook of your Slack workspace.", f"SLACK_WEBHOOK_URL={secrets.slack_url}"]
    return "\n".join(lines) + "\n"


def _cases(choices: Choices) -> str:
    mail, forward, slack = bool(choices.mail_from), bool(choices.forward), choices.slack
    parts = [_CASES_HEAD]
    if choices.database.startswith("${"):
        parts.append(_CASES_ENV.replace("<shop variable>", choices.database.strip("${}")))
    parts.append("cases:\n")
    if choices.orders:
        names = ["save"] + [name for wanted, name in ((mail, "receipt"), (forward, "ship"), (slack, "tell")) if wanted]
        parts.append(_ORDER_CASE.replace("<actions>", ", ".join(names)))
        parts += [_RECEIPT_CASE] if mail else []
        parts.append(_UNPAID_CASE)
        parts += [_FAILED_CASE] if mail else []
    if choices.subscriptions:
        names = ["save"] + [name for wanted, name in ((forward, "pass-on"),) if wanted]
        parts.append(_SUBSCRIPTION_CASE.replace("<actions>", ", ".join(names)))
        parts.append(_CANCELLED_CASE.replace("<actions>", ", ".join([*names, *(["tell"] if slack else [])])))
        parts += [_INVOICE_CASE] if mail else []
    return _fill("".join(parts), choices)


_HEAD = """\
# Stripe events in; what the routes say, out.
#   gateway check     finds every mistake here       gateway explain TYPE   shows what an event would lead to
#   gateway test      runs config/tests/             gateway serve          runs it
version: 1

server:
  listen: <listen>   # Stripe posts to /webhooks/<account>; TLS ends in front of it

store:
  url: sqlite:///data/gateway.db   # the inbox: every event, and what is owed for it

defaults:
  timeout: 30s                     # of one attempt
  retry: {attempts: 20, first: 5s, factor: 4, max: 6h}   # spans 3.3 days: a weekend

accounts:
  <account>:
    signing_secrets: ["${<variable>}"]   # whsec_...; several while one is being rolled
    livemode: any                  # true or false: events of the other mode are kept, and ignored

# Named outside systems. Secrets come from the environment, ${NAME}, or from a file, ${file:/run/secrets/name}.
connections:
  shop:
    type: database
    url: "<database>"
"""
_MAIL = """\
  mail:
    type: smtp
    host: "${SMTP_HOST:-localhost}"
    port: ${SMTP_PORT:-587}
    tls: starttls
    username: "${SMTP_USERNAME:-}"
    password: "${SMTP_PASSWORD:-}"
    from: "<from>"
"""
_FORWARD = """\
  service:
    type: http
    url: "<forward>"
    signing_secret: "${FORWARD_SECRET}"   # forwards are signed by Standard Webhooks
    # allow_private: true          # where the service has a private address
"""
_SLACK = """\
  team:
    type: slack
    webhook_url: "${SLACK_WEBHOOK_URL}"
"""
_ORDERS = """
  fulfil-orders:
    events: [checkout.session.completed, checkout.session.async_payment_succeeded]   # globs allowed: invoice.*
    if: object.payment_status != 'unpaid'   # a bank transfer is paid later: then the second event comes
    once_per: object.id            # once for each Checkout Session, whichever event came first
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: orders
          ensure_table: true       # made by the first order; leave it out where you make tables yourself
          key: {session_id: "{{ object.id }}"}
          values:
            email: "{{ object.customer_details.email }}"
            amount: "{{ object.amount_total }}"       # in the currency's minor unit: cents
            currency: "{{ object.currency }}"
            ordered_at: "{{ object.created | timestamp }}"
"""
_RECEIPT_MAIL = """\
      receipt:
        uses: email
        needs: [save]              # starts after save has succeeded
        with:
          connection: mail
          to: "{{ object.customer_details.email }}"
          subject: "Your order"
          text: "Thank you. We received {{ object.amount_total | money(object.currency) }}."
          html: {template: config/templates/receipt.html.j2}
"""
_SHIP = """\
      ship:
        uses: http_forward         # the event as Stripe sent it, signed
        needs: [save]
        with: {connection: service}
"""
_TELL = """\
      tell:
        uses: slack
        with:
          connection: team
          text: "New order: {{ object.amount_total | money(object.currency) }}"
"""
_PAYMENT_FAILED = """
  payment-failed:
    events: [checkout.session.async_payment_failed]
    actions:
      apologise:
        uses: email
        with:
          connection: mail
          to: "{{ object.customer_details.email }}"
          subject: "Your payment did not arrive"
          text: "We could not collect {{ object.amount_total | money(object.currency) }}, so nothing was ordered."
"""
_SUBSCRIPTIONS = """
  keep-subscriptions:
    events: [customer.subscription.*]
    order_by: object.id            # one at a time for each subscription
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: subscriptions
          ensure_table: true
          key: {subscription_id: "{{ object.id }}"}
          values:
            customer: "{{ object.customer }}"
            status: "{{ object.status }}"             # active, past_due, canceled, ...
            price: "{{ object.items.data[0].price.id }}"
          newest: {column: stripe_created, value: "{{ event.created }}"}   # an older event never overwrites
"""
_FORWARD_CHANGES = """\
      pass-on:
        uses: http_forward
        needs: [save]
        with: {connection: service}
"""
_TELL_CANCELLED = """\
      tell:
        uses: slack
        if: event.type == 'customer.subscription.deleted'
        with:
          connection: team
          text: "A subscription ended: {{ object.id }}"
"""
_INVOICE_FAILED = """
  renewal-failed:
    events: [invoice.payment_failed]
    if: object.customer_email
    actions:
      remind:
        uses: email
        with:
          connection: mail
          to: "{{ object.customer_email }}"
          subject: "Your payment did not go through"
          text: "We could not collect {{ object.amount_due | money(object.currency) }}. Please update your card."
"""
_RECEIPT = """\
<!doctype html>
<html lang="en">
  <body style="font-family: sans-serif">
    <h1>Thank you, {{ object.customer_details.name | default('dear customer', true) }}</h1>
    <p>We received {{ object.amount_total | money(object.currency) }} on {{ event.created | datetime('%d %B %Y') }}.</p>
    <p>Your order: {{ object.id }}</p>
  </body>
</html>
"""
_CASES_HEAD = """\
# What the routes do, as tests. `gateway test` runs them, sends nothing, and needs no secrets: good for CI.
account: "<account>"
"""
_CASES_ENV = """\
env: {<shop variable>: "sqlite:///data/shop.db"}   # what ${<shop variable>} is here; others have harmless placeholders
"""
_ORDER_CASE = """\
  a paid order is fulfilled:
    event:
      type: checkout.session.completed   # a plausible event of that type, with these fields changed
      object: {id: cs_test_1, amount_total: 4500, currency: eur, customer_details.email: jenny@example.com}
    expect:
      routes: {fulfil-orders: [<actions>]}
      deliveries:
        fulfil-orders:
          save:
            with: {table: orders, key: {session_id: cs_test_1}, values: {amount: 4500, email: jenny@example.com}}

"""
_RECEIPT_CASE = """\
  the receipt names the amount:
    event: {type: checkout.session.completed, object: {amount_total: 4500, currency: eur}}
    expect:
      deliveries:
        fulfil-orders:
          receipt: {after: [save], with: {text: Thank you. We received €45.00., html: {$contains: €45.00}}}

"""
_UNPAID_CASE = """\
  an order that is not paid yet waits:
    event: {type: checkout.session.completed, object: {payment_status: unpaid}}
    expect: nothing

"""
_FAILED_CASE = """\
  a payment that fails in the end is told to the customer:
    event: {type: checkout.session.async_payment_failed, object: {customer_details.email: jenny@example.com}}
    expect:
      deliveries: {payment-failed: {apologise: {with: {to: jenny@example.com}}}}

"""
_SUBSCRIPTION_CASE = """\
  a subscription is kept as it is now:
    event: {type: customer.subscription.updated, object: {id: sub_1, status: past_due}}
    expect:
      routes: {keep-subscriptions: [<actions>]}
      deliveries:
        keep-subscriptions:
          save: {order_by: sub_1, with: {key: {subscription_id: sub_1}, values: {status: past_due}}}

"""
_CANCELLED_CASE = """\
  a subscription that ends is kept as canceled:
    event: customer.subscription.deleted
    expect:
      routes: {keep-subscriptions: [<actions>]}
      deliveries: {keep-subscriptions: {save: {with: {values: {status: canceled}}}}}

"""
_INVOICE_CASE = """\
  a renewal that fails reminds the customer:
    event: {type: invoice.payment_failed, object: {customer_email: jenny@example.com, amount_due: 1900}}
    expect:
      deliveries:
        renewal-failed: {remind: {with: {to: jenny@example.com, text: {$contains: €19.00}}}}

"""
