"""How long a large configuration takes to load and check, and an event to be routed by it.

.venv/bin/python -m bench.config_load [--routes 1000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import table
from gateway.config.load import Config, load
from gateway.core.envelope import parse_event, parse_json
from gateway.core.routing import RouteTable, plan, scope_of
from gateway.stripe.event_types import snapshot_types
from gateway.testing import make_event

_HEAD = """\
version: 1
vars: {big_order: 100000}
accounts:
  eu: {signing_secrets: [whsec_eu], vars: {sender: "Shop EU <eu@shop.example>"}}
  us: {signing_secrets: [whsec_us], vars: {sender: "Shop US <us@shop.example>"}}
connections:
  shop: {type: database, url: "sqlite:///data/shop.db"}
  mail: {type: smtp, host: localhost, from: "Shop <shop@shop.example>"}
  warehouse: {type: http, url: https://warehouse.example/hooks}
  sales: {type: slack, webhook_url: "https://hooks.slack.example/x"}
routes:
"""
_ROUTE = """\
  team-{n}:
    events: [{type}]
    if: object.metadata.team == 'team-{n}' and object.amount_total >= vars.big_order
    once_per: object.id
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: orders_{n}
          key: {{session_id: "{{{{ object.id }}}}"}}
          values:
            email: "{{{{ object.customer_details.email }}}}"
            amount: "{{{{ object.amount_total }}}}"
            currency: "{{{{ object.currency | upper }}}}"
            team: "team-{n} {{{{ object.metadata.team }}}}"
          newest: {{column: stripe_created, value: "{{{{ event.created }}}}"}}
      receipt:
        uses: email
        needs: [save]
        with:
          connection: mail
          from: "{{{{ account.vars.sender }}}}"
          to: "{{{{ object.customer_details.email }}}}"
          subject: "Order {{{{ object.id }}}} of team {n}"
          text: |
            Dear {{{{ object.customer_details.name }}}},
            team {n} thanks you for {{{{ object.amount_total | money(object.currency) }}}}.
          html: {{template: receipt.html.j2}}
      ship:
        uses: http_forward
        needs: [save]
        with:
          connection: warehouse
          body: {{team: {n}, order: "{{{{ object.id }}}}", rows: "{{{{ steps.save.output.rows }}}}"}}
      tell:
        uses: slack
        if: object.amount_total >= vars.big_order
        with:
          connection: sales
          text: "Big order for team {n}: {{{{ object.amount_total | money(object.currency) }}}}"
"""
_TYPES = (
    "checkout.session.expired",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
)
_FILE = """\
{% for field in object.custom_fields %}<p>{{ field.key }}</p>{% endfor %}
<p>Thank you, {{ object.customer_details.name }}.</p>
"""


def write_config(folder: Path, routes: int) -> Path:
    """A configuration of that many routes with four actions each; one in twenty wants paid sessions."""
    text = _HEAD + "".join(
        _ROUTE.format(n=n, type="checkout.session.completed" if n % 20 == 0 else _TYPES[n % len(_TYPES)])
        for n in range(routes)
    )
    (folder / "receipt.html.j2").write_text(_FILE)
    path = folder / "gateway.yaml"
    path.write_text(text)
    return path


def check_seconds(path: Path) -> float:
    """Wall time of `gateway check` as a program of its own."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gateway", "--config", path, "check"], check=True, capture_output=True)
    return time.perf_counter() - began


def routing_ms(config: Config, rounds: int) -> tuple[float, float, int]:
    """Milliseconds to route an event whose type was met before, and one of a type that is new; and its routes."""
    body = json.dumps(make_event("checkout.session.completed", object={"metadata": {"team": "team-40"}})).encode()
    account, event = config.accounts["eu"], parse_event(body, "eu", datetime.now(UTC))
    routing = RouteTable(config.routes)
    routing.prepare()

    def once(kind: str) -> float:
        began = time.perf_counter()
        wanting = routing.wanting("eu", kind)
        plan(wanting, event, lambda: scope_of(parse_json(body), account, config.vars))
        return (time.perf_counter() - began) * 1000

    new = statistics.median(once(kind) for kind in snapshot_types())
    once("checkout.session.completed")
    known = statistics.median(once("checkout.session.completed") for _ in range(rounds))
    return known, new, len(routing.wanting("eu", "checkout.session.completed"))


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as base:
        path = write_config(Path(base), options.routes)
        checks = [check_seconds(path) for _ in range(options.rounds)]
        loads = []
        for _ in range(options.rounds):
            gc.collect()
            began = time.perf_counter()
            config = load(path, {})
            loads.append(time.perf_counter() - began)
        known, new, wanting = routing_ms(config, 1000)
        kib = path.stat().st_size // 1024
        rows: list[list[object]] = [
            ["`gateway check`, whole program", f"{statistics.median(checks):.2f} s", f"{max(checks):.2f} s"],
            ["load, in a process that has loaded before", f"{statistics.median(loads):.2f} s", f"{max(loads):.2f} s"],
            [f"route an event that {wanting} routes want", f"{known:.3f} ms", ""],
            ["route an event of a type not met before", f"{new:.3f} ms", ""],
        ]
        print(f"{options.routes} routes, {options.routes * 4} actions, {kib} KiB of YAML\n")
        print(table(["", "median", "slowest"], rows))
        print(f"\nresident at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main()
