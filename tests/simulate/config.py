"""The configurations that the simulated gateways run, two that differ, and the action of a plugin that they use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.config.load import Config, load

SECRETS = {
    "ACME_SECRET": "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldA",
    "ACME_KEY": "sk_test_plantedapikey000000000001",
    "SHOP_TOKEN": "planted-shop-token-7c1f",
    "ACTION_TOKEN": "planted-action-token-93ab",
}
ACCOUNTS = ("acme", "other")
CONNECTIONS = ("shop", "mail", "ware", "pager")
NEEDS: Mapping[str, tuple[str, ...]] = {
    "receipt": ("save",), "ship": ("save",), "thank": ("receipt", "ship"), "close": ("remind",),
}  # fmt: skip
NEEDS_DEATH: Mapping[str, str] = {"rescue": "save"}
EXPIRING = "receipt"
APPROVED = ("refund", "close")
AFTER_SECONDS: Mapping[str, tuple[float, ...]] = {"remind": (90.0, 40.0), "close": (150.0,)}  # by each that has it
AT = "call"
JUDGED_AGAIN = "remind"
CANCELLED_BY_UNTIL = ("remind", "call")
HOURS: tuple[tuple[int, int], ...] = ((151, 152), (154, 156), (158, 1320))  # minutes of a day in UTC, in the first
MOST_ATTEMPTS, FEWEST_ATTEMPTS = 4, 3
ODD_ATTEMPTS = 2  # of the action `odd`
PLUGIN = '''\
from typing import Annotated, Any, ClassVar, Mapping

from gateway.plugin import Action, Connection, Context, HttpConnection, Settings, Text
from tests.simulate.destinations import act


class ActSettings(Settings):
    """`with` of act."""

    connection: Annotated[str, Connection(HttpConnection)]
    what: Annotated[str, Text()]
    token: str = ""


class Act(Action[ActSettings]):
    """Does what the simulator's destination does."""

    name: ClassVar[str] = "act"
    Settings: ClassVar[type[Settings]] = ActSettings

    async def run(self, settings: ActSettings, context: Context) -> Mapping[str, Any] | None:
        return await act(settings, context)
'''
_TEXT = """\
version: 1
plugins: [plugins]
store: {{url: "sqlite:///inbox.db", retention: 1d, dead_retention: {dead_retention}}}
reload: {{watch: false}}
alerts: {{repeat: 10m, backlog_after: 2m}}
defaults: {{timeout: 20s, retry: {{attempts: {attempts}, first: 2s, factor: 3, max: 40s}}}}
accounts:
  acme: {{signing_secrets: ["${{ACME_SECRET}}"], api_key: "${{ACME_KEY}}"}}
  other: {{signing_secrets: [whsec_b3RoZXI]}}
connections:
  shop: {{type: http, url: "https://shop.example/x", concurrency: 2, headers: {{X-Key: "${{SHOP_TOKEN}}"}}, breaker: {{failures: 3, pause: 20s, max: 1m}}}}
  mail: {{type: http, url: "https://mail.example/x", rate: 5/s}}
  ware: {{type: http, url: "https://ware.example/x", concurrency: 4, breaker: false}}
  pager: {{type: http, url: "https://pager.example/x"}}
routes:
  orders:
    events: [checkout.session.completed]
    if: object.payment_status == 'paid'
    once_per: object.payment_intent
    order_by: object.customer
    actions:
      save: {{uses: act, with: {{connection: shop, what: "{{{{ object.id }}}}", token: "${{ACTION_TOKEN}}"}}}}
      rescue: {{uses: act, needs: {{save: dead}}, with: {{connection: pager, what: "{{{{ steps.save.error | truncate(9) }}}}"}}}}
      receipt: {{uses: act, needs: [save], expires: 90s, with: {{connection: mail, what: "{{{{ object.id }}}}"}}}}
      ship: {{uses: act, needs: [save], timeout: 100s, with: {{connection: ware, what: "{{{{ object.id }}}}"}}}}
{thank}  invoices:
    events: [invoice.paid]
    accounts: [acme]
    fetch: {{}}
    order_by: object.customer
    actions:
      count: {{uses: act, with: {{connection: ware, what: "{{{{ object.id }}}}"}}}}
  syncs:
    events: [checkout.session.completed]
    debounce: {{by: object.customer, wait: 5s, max: 15s}}
    actions:
      sync: {{uses: act, with: {{connection: ware, what: "{{{{ object.id }}}}"}}}}
      synced: {{uses: act, needs: [sync], with: {{connection: mail, what: "{{{{ object.id }}}}"}}}}
  refunds:
    events: [invoice.paid]
    accounts: [other]
    order_by: object.customer
    actions:
      refund:
        uses: act
        approve: {{by: [operator], within: 40s}}
        with: {{connection: shop, what: "{{{{ object.id }}}}"}}
      refunded: {{uses: act, needs: {{refund: any}}, with: {{connection: mail, what: "{{{{ steps.refund.state }}}}"}}}}
{odd}  dunning:
    events: [invoice.payment_failed]
    accounts: [acme]
    fetch: {{}}
    order_by: object.customer
    actions:
      note: {{uses: act, with: {{connection: ware, what: "{{{{ object.id }}}}"}}}}
      remind:
        uses: act
        after: {after}
        still_if: object.status == 'open'
        until: {{events: [invoice.voided], same: object.number}}
        with: {{connection: mail, what: "{{{{ object.id }}}}"}}
      call:
        uses: act
        at: "{{{{ object.call_at | timestamp }}}}"
        during: {{hours: [{hours}], timezone: Europe/Berlin}}
        until: {{events: [invoice.voided], same: object.number}}
        with: {{connection: pager, what: "{{{{ object.id }}}}"}}
{close}  pages:
    events: [gateway.delivery.dead, gateway.connection.paused]
    digest: {{every: 2m, wait: 10s}}
    actions:
      page: {{uses: act, with: {{connection: pager, what: "{{{{ count }}}}"}}}}
"""  # noqa: E501
_THANK = """\
      thank:
        uses: act
        needs: [receipt, ship]
        if: object.amount_total > 1000
        with: {connection: mail, what: "{{ object.id }}"}
"""
_ODD = """\
  odd:
    events: [invoice.paid]
    if: object.lines.total > 0
    order_by: object.customer
    actions:
      odd: {uses: act, retry: {attempts: 2}, with: {connection: shop, what: "{{ object.id }}"}}
"""
_CLOSE = """\
      close:
        uses: act
        needs: [remind]
        after: 150s
        approve: {by: [operator], within: 40s}
        with: {connection: shop, what: "{{ object.id }}"}
"""
_HOURS = "03:31-03:32, 03:34-03:36, 03:38-23:00"  # by Berlin's wall in November: HOURS


def configurations(folder: Path) -> Sequence[Config]:
    """Two that load. The second has fewer attempts, keeps dead letters for ever, reminds earlier, calls at any hour,
    and lacks two actions and a route.
    """
    (folder / "plugins").mkdir(exist_ok=True)
    (folder / "plugins/act.py").write_text(PLUGIN)
    loaded = []
    for number, text in enumerate(
        (
            _TEXT.format(
                attempts=MOST_ATTEMPTS,
                dead_retention="3d",
                thank=_THANK,
                odd=_ODD,
                after="90s",
                hours=_HOURS,
                close=_CLOSE,
            ),
            _TEXT.format(
                attempts=FEWEST_ATTEMPTS,
                dead_retention="null",
                thank="",
                odd="",
                after="40s",
                hours="00:00-24:00",
                close="",
            ),
        )
    ):
        path = folder / f"gateway-{number}.yaml"
        path.write_text(text)
        loaded.append(load(path, SECRETS))
    return loaded
