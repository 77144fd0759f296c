"""What `gateway check` says of expressions, held against what Stripe sends: a corpus of wrong ones and of right ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.checks.stripe_fetch import WITHOUT_PLACE
from gateway.config.diagnostics.problem import ConfigError, Problem
from gateway.config.load import load
from gateway.stripe import objects
from gateway.stripe.event_types import is_thin

HEAD = """\
version: 1
accounts: {acme: {signing_secrets: [whsec_0123456789abcdef0123], api_key: rk_test_0123456789abcdef%s}}
connections: {shop: {type: database, url: "sqlite:///shop.db"}}
routes:
  r:
    events: [%s]
"""
ACTION = """\
    actions:
      save: {uses: db_upsert, with: {connection: shop, table: t, key: {id: "{{ event.id }}"}, values: {v: "%s"}}}
"""
CODES = frozenset(
    {"stripe-field", "stripe-value", "moved", "not-expanded", "previous", "null", "cut-list", "money", "time", "fetch"}
)
SESSION, INVOICE, SUBSCRIPTION = "checkout.session.completed", "invoice.paid", "customer.subscription.updated"
VERSION = "2026-10-28.endive"


def problems(folder: Path, events: str, template: str, api_version: str = "", extra: str = "") -> list[Problem]:
    """What is said of one template in a route for some events."""
    version = f", api_version: {api_version}" if api_version else ""
    path = folder / "gateway.yaml"
    path.write_text(HEAD % (version, events) + extra + ACTION % template)
    try:
        said = load(path, {}, checks_fields=True).warnings
    except ConfigError as error:
        said = error.problems
    return [problem for problem in said if problem.code in CODES]


WRONG = [
    (SESSION, "{{ object.amuont_total }}", f"object has no amuont_total in Stripe's API {VERSION}", "did you mean amount_total?"),
    (SESSION, "{{ object.city }}", f"object has no city in Stripe's API {VERSION}",
     "did you mean object.customer_details.address.city?"),
    (SESSION, "{{ object.email }}", f"object has no email in Stripe's API {VERSION}",
     "did you mean object.customer_details.email?"),
    (SESSION, "{{ object.customer_details.e_mail }}", f"object.customer_details has no e_mail in Stripe's API {VERSION}",
     "did you mean email?"),
    (SESSION, "{{ event.data.object.amuont_total }}", f"event.data.object has no amuont_total in Stripe's API {VERSION}",
     "did you mean amount_total?"),
    (SESSION, "{{ object.custom_fields[0].kye }}", f"object.custom_fields[0] has no kye in Stripe's API {VERSION}",
     "did you mean key?"),
    (SESSION, "{{ object.custom_fields.key }}", "object.custom_fields is a list: it has no key",
     "object.custom_fields[0].key, or for_each"),
    (SESSION, "{{ object.amount_total.value }}", "object.amount_total is an integer in the currency's minor unit: it has no value",
     None),
    (SESSION, "{{ object.customer.email }}", "object.customer is an id here: it has no email",
     "fetch: {expand: [customer]} makes it the whole customer"),
    (SESSION, "{{ object.payment_intent.latest_charge.receipt_url }}",
     "object.payment_intent is an id here: it has no latest_charge",
     "fetch: {expand: [payment_intent]} makes it the whole payment_intent"),
    (SESSION, "{{ object.customer.emial }}", "object.customer is an id, and what it names has no emial", "did you mean email?"),
    (SESSION, "{{ 1 if object.payment_status == 'payed' }}", f"object.payment_status is never 'payed' in Stripe's API {VERSION}",
     "did you mean 'paid'? it is one of no_payment_required, paid, unpaid"),
    (SESSION, "{{ object.mode in ['payment', 'setpu'] }}", f"object.mode is never 'setpu' in Stripe's API {VERSION}",
     "did you mean 'setup'? it is one of payment, setup, subscription"),
    (SESSION, "{{ 'paid' == object.status }}", f"object.status is never 'paid' in Stripe's API {VERSION}",
     "it is one of complete, expired, open"),
    (SESSION, "{{ object.livemode == 'true' }}", "object.livemode is true or false: it is never 'true'",
     "write true or false without quotes"),
    (SESSION, "{{ object.amount_total > '100' }}",
     "object.amount_total is an integer in the currency's minor unit: it is never '100'", None),
    (SESSION, "{{ object.currency == 100 }}", "object.currency is text: it is never 100", None),
    (SESSION, "{{ object.created > '2026-01-01' }}", "object.created is a Unix time in seconds: it is never '2026-01-01'",
     "compare it with a number, or write (x | timestamp)"),
    (INVOICE, "{{ object.subscription }}", "object.subscription is gone since Stripe's API 2025-03-31.basil",
     "it is object.parent.subscription_details.subscription now; accounts.NAME.api_version says which version an endpoint has"),
    (INVOICE, "{{ object.charge }}", "object.charge is gone since Stripe's API 2025-03-31.basil",
     "it is object.payments.data[0].payment.payment_intent now, with fetch: {expand: [payments]}; accounts.NAME.api_version says which"
     " version an endpoint has"),
    (INVOICE, "{{ object.paid }}", "object.paid is gone since Stripe's API 2025-03-31.basil",
     "write object.status == 'paid'; accounts.NAME.api_version says which version an endpoint has"),
    (INVOICE, "{{ object.lines.data[0].price.id }}", "object.lines.data[0].price is gone since Stripe's API 2025-03-31.basil",
     "it is object.lines.data[0].pricing.price_details.price now; accounts.NAME.api_version says which version an endpoint has"),
    (INVOICE, "{{ object.lines.date[0].id }}", f"object.lines has no date in Stripe's API {VERSION}", "did you mean data?"),
    (SUBSCRIPTION, "{{ object.current_period_end }}", "object.current_period_end is gone since Stripe's API 2025-03-31.basil",
     "it is object.items.data[0].current_period_end now; accounts.NAME.api_version says which version an endpoint has"),
    (SUBSCRIPTION, "{{ object.items.data[0].prise.id }}", f"object.items.data[0] has no prise in Stripe's API {VERSION}",
     "did you mean price?"),
    (SUBSCRIPTION, "{{ object.status == 'cancelled' }}", f"object.status is never 'cancelled' in Stripe's API {VERSION}",
     "did you mean 'canceled'? it is one of active, canceled, incomplete, incomplete_expired, past_due, paused, trialing, unpaid"),
    (SUBSCRIPTION, "{{ previous.status == 'active' }}",
     "previous.status is there only where this very field has changed: a dead letter for every other update",
     "write previous.status is defined and ..., or previous.status | default(...)"),
    (SUBSCRIPTION, "{{ previous.statsu is defined }}", f"previous has no statsu in Stripe's API {VERSION}", "did you mean status?"),
    ("charge.dispute.created", "{{ object.amount_refunded }}", f"object has no amount_refunded in Stripe's API {VERSION}", None),
    ("charge.dispute.created", "{{ object.charge.receipt_url }}", "object.charge is an id here: it has no receipt_url",
     "fetch: {expand: [charge]} makes it the whole charge"),
    ("payout.failed", "{{ object.arrival }}", f"object has no arrival in Stripe's API {VERSION}", "did you mean arrival_date?"),
    ("refund.failed", "{{ object.failure }}", f"object has no failure in Stripe's API {VERSION}", "did you mean failure_reason?"),
    ("customer.discount.created", "{{ object.coupon.id }}", "object.coupon is gone since Stripe's API 2025-09-30.clover",
     "it is object.source.coupon now; accounts.NAME.api_version says which version an endpoint has"),
    ("payment_intent.succeeded", "{{ object.invoice }}", "object.invoice is gone since Stripe's API 2025-03-31.basil",
     "an Invoice Payment names both: fetch the invoice and read payments; "
     "accounts.NAME.api_version says which version an endpoint has"),
    ("invoice.paid, customer.subscription.updated", "{{ object.lines.has_more }}",
     "object.lines is missing in customer.subscription.updated: a dead letter for each",
     "say `if: event.type == ...`, or write object.lines | default(...)"),
]  # fmt: skip

RIGHT = [
    (SESSION, "{{ object.customer_details.email }} {{ object.metadata.anything }} {{ object.amount_total | money(object.currency) }}"),
    (SESSION, "{{ object.id.startswith('cs_') }} {{ object.customer_details.name.upper() }}"),
    (SESSION, "{{ object.payment_status in ['paid', 'no_payment_required'] and object.mode == 'payment' }}"),
    (SESSION, "{{ object.amount_total >= 100000 and object.livemode == true and object.currency != 'eur' }}"),
    (SESSION, "{{ object.custom_fields[0].text.value | default('') }} {{ object.custom_fields | length }}"),
    (INVOICE, "{{ object.subscription | default(object.parent.subscription_details.subscription) }}"),
    (SESSION, "{{ object.collected_information.shipping_details.address.line1 }}"),
    (SESSION, "{{ object.created > 1700000000 }} {{ object.client_reference_id == '17' }}"),
    (SESSION, "{{ object.customer }} {{ object.payment_intent }} {{ object.total_details.amount_tax }}"),
    (INVOICE, "{{ object.lines.data[0].pricing.price_details.price }} {{ object.lines.data | first }}"),
    (INVOICE, "{{ object.parent.subscription_details.subscription }} {{ object.status_transitions.paid_at | timestamp }}"),
    (INVOICE, "{{ object.lines.has_more }} {{ object.billing_reason == 'subscription_cycle' }}"),
    (SUBSCRIPTION, "{{ object.items.data[0].price.id }} {{ object.items.data[0].current_period_end }}"),
    (SUBSCRIPTION, "{{ previous.status is defined and previous.status == 'active' }}"),
    (SUBSCRIPTION, "{{ previous.items is defined }} {{ previous.status | default('') }}"),
    (SUBSCRIPTION, "{{ object.cancellation_details.reason or '' }} {{ object.trial_end | timestamp if object.trial_end else '' }}"),
    ("charge.refunded", "{{ object.amount_refunded }} {{ object.billing_details.email or '' }}"),
    ("charge.dispute.created", "{{ object.evidence_details.due_by }} {{ object.reason == 'fraudulent' }}"),
    ("payout.failed", "{{ object.failure_code }} {{ object.arrival_date | timestamp }}"),
    ("account.updated", "{{ object.requirements.currently_due }} {{ object.charges_enabled == false }}"),
    ("customer.source.created", "{{ object.id }} {{ object.last4 }}"),
    ("'*'", "{{ object.id }}"),
    ("'invoice.*'", "{{ object.total }}"),
    ("some.type_of_tomorrow", "{{ object.anything.at.all }}"),
    ("gateway.delivery.dead", "{{ object.summary }}"),
    ("v1.billing.meter.error_report_triggered", "{{ object.id }}"),
]  # fmt: skip


@pytest.mark.parametrize(("events", "template", "message", "hint"), WRONG)
def test_what_cannot_be_is_told(tmp_path: Path, events: str, template: str, message: str, hint: str | None) -> None:
    (problem,) = problems(tmp_path, events, template)
    assert problem.message == message
    assert hint is None or problem.hint == hint


@pytest.mark.parametrize(("events", "template"), RIGHT)
def test_what_can_be_is_not(tmp_path: Path, events: str, template: str) -> None:
    assert problems(tmp_path, events, template) == []


def test_the_mark_is_below_the_field(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SESSION, "{{ object.amuont_total }}")
    line = (tmp_path / "gateway.yaml").read_text().splitlines()[problem.where.line - 1]
    assert line[problem.where.column - 1 :].startswith("amuont_total")


def test_a_condition_is_judged_too(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SESSION, "x", extra="    if: object.payment_status == 'payed'\n")
    assert (problem.severity, problem.code, problem.where.path) == ("error", "stripe-value", "routes.r.if")


def test_a_slip_that_a_default_hides_is_a_warning(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SESSION, "{{ object.amuont_total | default(0) }}")
    assert (problem.severity, problem.hint) == ("warning", "did you mean amount_total?")


@pytest.mark.parametrize(
    ("api_version", "severities"), [("2024-06-20", []), ("2025-03-31.basil", ["error"]), ("", ["warning"])]
)
def test_what_moved_depends_on_the_accounts_version(tmp_path: Path, api_version: str, severities: list[str]) -> None:
    said = problems(tmp_path, INVOICE, "{{ object.subscription }}", api_version)
    assert [problem.severity for problem in said] == severities


def test_what_fetch_expands_is_an_object(tmp_path: Path) -> None:
    fetch = "    fetch: {expand: [customer, payment_intent.latest_charge]}\n"
    template = "{{ object.customer.email or '' }} {{ object.payment_intent.latest_charge.receipt_url }}"
    assert problems(tmp_path, SESSION, template, extra=fetch) == []
    (problem,) = problems(tmp_path, SESSION, "{{ object.customer.emial }}", extra=fetch)
    assert problem.message == f"object.customer has no emial in Stripe's API {VERSION}"


def test_what_fetch_expands_within_a_list_is_an_object_too(tmp_path: Path) -> None:
    fetch = "    fetch: {expand: [items.data.price.product]}\n"
    assert problems(tmp_path, SUBSCRIPTION, "{{ object.items.data[0].price.product.name }}", extra=fetch) == []


def test_a_thin_event_is_judged_by_the_object_that_is_fetched(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "v1.customer.created", "{{ object.emial }}", extra="    fetch: true\n")
    assert problem.hint == "did you mean email?"


def test_a_start_does_not_look_at_stripes_objects(tmp_path: Path) -> None:
    problems(tmp_path, SESSION, "{{ object.amuont_total }}")
    assert load(tmp_path / "gateway.yaml", {}).warnings == ()


UPCOMING, TRIAL, CHARGE = "invoice.upcoming", "customer.subscription.trial_will_end", "charge.refunded"
NO_NULL = "null cannot be counted with, a dead letter"
NULLS = [
    (SUBSCRIPTION, "{{ object.trial_end | timestamp }}", "object.trial_end may be null: timestamp takes no null, a dead letter",
     "write object.trial_end | timestamp if object.trial_end else none"),
    (SUBSCRIPTION, "{{ object.cancel_at | datetime('%d') }}", "object.cancel_at may be null: datetime takes no null, a dead letter",
     "write object.cancel_at | datetime(...) if object.cancel_at else ''"),
    (SUBSCRIPTION, "{{ object.items.data[0].price.unit_amount | money(object.currency) }}",
     "object.items.data[0].price.unit_amount may be null: money takes no null, a dead letter",
     "write object.items.data[0].price.unit_amount | money(...) if object.items.data[0].price.unit_amount is not none else ..."),
    (SUBSCRIPTION, "{{ object.items.data[0].price.unit_amount * 2 }}", f"object.items.data[0].price.unit_amount may be null: {NO_NULL}",
     "write (object.items.data[0].price.unit_amount or 0)"),
    (SUBSCRIPTION, "{{ object.cancel_at > event.created }}",
     "object.cancel_at may be null: null cannot be compared so, a dead letter", "write (object.cancel_at or 0)"),
    (SUBSCRIPTION, "{{ object.trial_end | default(0) | datetime }}",
     "object.trial_end may be null: datetime takes no null, a dead letter",
     "write object.trial_end | datetime(...) if object.trial_end else ''"),
    (INVOICE, "{{ object.created | money(object.currency) }}",
     "object.created is a Unix time in seconds: no amount in the currency's minor unit", None),
    (INVOICE, "{{ object.attempt_count | money(object.currency) }}",
     "object.attempt_count is an integer: no amount in the currency's minor unit", None),
    (INVOICE, "{{ object.total | money(object.customer) }}", "object.customer is an id: no currency", None),
    (INVOICE, "{{ object.total | datetime }}", "object.total is an integer in the currency's minor unit: no time", None),
    (SESSION, "{{ object.amount_total | money(object.presentment_details.presentment_currency) }}",
     "object.amount_total is in object.currency, not in object.presentment_details.presentment_currency",
     "write money(object.currency)"),
    (SESSION, "{{ object.presentment_details.presentment_amount | money(object.currency) }}",
     "object.presentment_details.presentment_amount is in object.presentment_details.presentment_currency, not in object.currency",
     "write money(object.presentment_details.presentment_currency)"),
    (INVOICE, "{{ object.lines.data | length }}",
     "Stripe sends the first ten of object.lines at most: the others are not in the event",
     "fetch: true brings them all; object.lines.has_more says whether there are more"),
    (INVOICE, "{% for line in object.lines.data %}{{ line.amuont }}{% endfor %}", f"line has no amuont in Stripe's API {VERSION}",
     "did you mean amount?"),
    (INVOICE, "{{ object.lines.data | map(attribute='amuont') | first }}",
     f"object.lines.data[0] has no amuont in Stripe's API {VERSION}", "did you mean amount?"),
    (INVOICE, "{{ object.created == object.currency }}",
     "object.created is a Unix time in seconds and object.currency is text: they are never equal", None),
    (SESSION, "{{ object.line_items.data[0].id }}", "object.line_items is not in events: Stripe adds it where it is asked for",
     "fetch: {expand: [line_items]} brings it"),
]  # fmt: skip
FINE = [
    (TRIAL, "{{ object.trial_end | datetime('%d %B') }}"),
    (SUBSCRIPTION, "{{ object.cancel_at | timestamp if object.cancel_at else none }}"),
    (SUBSCRIPTION, "{% if object.cancel_at is not none %}{{ object.cancel_at | datetime }}{% endif %}"),
    (SUBSCRIPTION, "{{ (object.cancel_at or object.created) | datetime }} {{ object.cancel_at | default(0, true) | datetime }}"),
    (SUBSCRIPTION, "{% set price = object.items.data[0].price %}{% if price.unit_amount %}{{ price.unit_amount | money(price.currency) }}{% endif %}"),
    (SUBSCRIPTION, "{{ object.items.data | map(attribute='current_period_end') | max | timestamp }}"),
    (INVOICE, "{{ (object.total - object.amount_paid) | money(object.currency) }} {{ object.total | money('eur') }}"),
    (INVOICE, "{% if not object.lines.has_more %}{% for line in object.lines.data %}{{ line.amount | money(object.currency) }}{% endfor %}{% endif %}"),
    (INVOICE, "{{ 0 if object.lines.has_more else object.lines.data | length }}"),
    (SESSION, "{{ object.presentment_details.presentment_amount | money(object.presentment_details.presentment_currency) }}"),
    (CHARGE, "{{ object.refunded and object.amount_refunded == object.amount }} {{ object.payment_method_details.card.last4 }}"),
]  # fmt: skip


@pytest.mark.parametrize(("events", "template", "message", "hint"), NULLS)
def test_what_fails_on_null_or_in_another_unit_is_told(
    tmp_path: Path, events: str, template: str, message: str, hint: str | None
) -> None:
    (problem,) = [problem for problem in problems(tmp_path, events, template) if problem.message == message]
    assert hint is None or problem.hint == hint


@pytest.mark.parametrize(("events", "template"), FINE)
def test_what_conditions_rule_out_is_not(tmp_path: Path, events: str, template: str) -> None:
    assert problems(tmp_path, events, template) == []


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("once_per: object.payment_intent",
         "object.payment_intent may be null: such an event has no key, and acts whatever others did"),
        ("order_by: object.payment_intent",
         "object.payment_intent may be null: such an event has no key, and waits for no other"),
        ("once_per: '[object.customer, object.id]'", "object.customer may be null: all events without it share a key"),
        ("once_per: \"'order-' ~ object.payment_intent\"",
         "object.payment_intent may be null: null cannot be joined to a text, a dead letter"),
        ("once_per: object.payment_intent or object.id", None),
        ("once_per: object.id", None),
        ("if: object.payment_intent\n    once_per: object.payment_intent", None),
        ("if: object.mode == 'payment' and object.payment_status == 'paid'\n    once_per: object.payment_intent", None),
        ("if: object.mode == 'subscription'\n    once_per: object.subscription", None),
    ],
)  # fmt: skip
def test_a_key_that_may_be_null_is_told(tmp_path: Path, key: str, message: str | None) -> None:
    said = problems(tmp_path, SESSION, "x", extra=f"    {key}\n")
    assert [problem.message for problem in said] == ([message] if message else [])


def test_each_kind_of_object_is_judged_where_it_comes(tmp_path: Path) -> None:
    key = "    once_per: \"object.payment_intent if object.object == 'checkout.session' else object.id\"\n"
    (problem,) = problems(tmp_path, f"{SESSION}, payment_intent.succeeded", "x", extra=key)
    line = (tmp_path / "gateway.yaml").read_text().splitlines()[problem.where.line - 1]
    assert (problem.code, line[problem.where.column - 1 :][:14]) == ("null", "payment_intent")
    guarded = "{{ object.payment_status if event.type.startswith('checkout.') else object.status }}"
    assert problems(tmp_path, f"{SESSION}, payment_intent.succeeded", guarded) == []


def test_item_is_an_element_of_for_each(tmp_path: Path) -> None:
    route = HEAD % ("", INVOICE) + (
        "    fetch: true\n    actions:\n      save: {uses: db_upsert, with: {connection: shop, table: t, "
        'for_each: "{{ object.lines.data }}", key: {id: "{{ item.id }}"}, values: {v: "{{ item.amuont }}"}}}\n'
    )
    (tmp_path / "gateway.yaml").write_text(route)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "gateway.yaml", {}, checks_fields=True)
    assert [problem.message for problem in refused.value.problems] == [f"item has no amuont in Stripe's API {VERSION}"]


METER = "v1.billing.meter.error_report_triggered"
FETCHES = [
    ("customer.discount.created", "true",
     "discount cannot be fetched: it has no place of its own at Stripe; a dead letter for each customer.discount.created",
     "take fetch out: the event holds it"),
    (UPCOMING, "true",
     "an upcoming invoice cannot be fetched: it has no place of its own at Stripe; a dead letter for each invoice.upcoming",
     "take fetch out: the event holds it"),
    ("'invoice.p*', invoice.upcoming", "true",
     "an upcoming invoice cannot be fetched: it has no place of its own at Stripe; a dead letter for each invoice.upcoming",
     "give invoice.upcoming a route without fetch"),
    ("reserve.hold.created", "true",
     "reserve.hold cannot be fetched: it has no place of its own at Stripe; a dead letter for each reserve.hold.created",
     "take fetch out: the event holds it"),
    (INVOICE, "{expand: [custmer]}", f"object has no custmer in Stripe's API {VERSION}", "did you mean customer?"),
    (INVOICE, "{expand: [subscription]}", "object.subscription is gone since Stripe's API 2025-03-31.basil",
     "it is object.parent.subscription_details.subscription now; accounts.NAME.api_version says which version an endpoint has"),
    (INVOICE, "{expand: [status]}", "status cannot be expanded: it is no id, and there without that",
     "take it out of expand: Stripe refuses the whole fetch"),
    (INVOICE, "{expand: [lines]}", "lines cannot be expanded: it is no id, and there without that",
     "take it out of expand: Stripe refuses the whole fetch"),
]  # fmt: skip


@pytest.mark.parametrize(("events", "fetch", "message", "hint"), FETCHES)
def test_a_fetch_that_cannot_be_is_told(tmp_path: Path, events: str, fetch: str, message: str, hint: str) -> None:
    (problem,) = problems(tmp_path, events, "x", extra=f"    fetch: {fetch}\n")
    assert (problem.message, problem.hint) == (message, hint)


@pytest.mark.parametrize(
    ("events", "fetch"),
    [
        (SESSION, "{expand: [line_items, customer, payment_intent.latest_charge.balance_transaction]}"),
        (SUBSCRIPTION, "{expand: [items.data.price.product, latest_invoice.payments, discounts]}"),
        ("entitlements.active_entitlement_summary.updated", "true"),
        ("customer.discount.created", "{object: false}"),
        ("v2.core.account[requirements].updated", "{expand: [requirements]}"),
    ],
)
def test_a_fetch_that_can_be_is_not(tmp_path: Path, events: str, fetch: str) -> None:
    told = problems(tmp_path, events, "x", extra=f"    fetch: {fetch}\n")
    assert [problem for problem in told if not problem.where.path.endswith("key.id")] == []  # which not all have


def test_a_condition_keeps_away_what_cannot_be_fetched(tmp_path: Path) -> None:
    extra = "    fetch: true\n    if: event.type != 'invoice.upcoming'\n"
    assert problems(tmp_path, "'invoice.*'", "x", extra=extra) == []


def test_of_what_was_deleted_fetch_brings_the_id_alone(tmp_path: Path) -> None:
    told = problems(tmp_path, "customer.deleted", "{{ object.email }}", extra="    fetch: true\n")
    assert [problem.message for problem in told] == [
        "object.email is not there: of what was deleted, fetch brings the id alone"
    ]
    both = "customer.updated, customer.deleted"
    assert (
        problems(
            tmp_path, both, "{{ object.email | default('', true) }}{{ object.deleted }}", extra="    fetch: true\n"
        )
        == []
    )
    (problem,) = problems(tmp_path, both, "{{ object.email }}", extra="    fetch: true\n")
    assert problem.message == "object.email is missing in customer.deleted: a dead letter for each"
    assert problems(tmp_path, "customer.deleted", "{{ object.email }}") == []


def test_a_thin_events_own_data_is_there_once_it_is_read(tmp_path: Path) -> None:
    template = "{{ event.data.developer_message_summary }}"
    (problem,) = problems(tmp_path, METER, template, extra="    fetch: true\n")
    assert problem.hint == "fetch: {event: true} reads the event itself"
    assert problems(tmp_path, METER, template, extra="    fetch: {event: true}\n") == []
    (problem,) = problems(tmp_path, METER, "{{ event.data.reson }}", extra="    fetch: {event: true}\n")
    assert problem.hint == "did you mean reason?"


def test_the_library_cannot_retrieve_what_is_said_to_have_no_place() -> None:
    from gateway.stripe.api import path_of

    names = {name for kind in objects.event_types() if not is_thin(kind) for name in objects.objects_of(kind)}
    ids = {name: dict.fromkeys(_texts(name), "x_1") | {"object": name} for name in names}
    without = {name for name in names if path_of(ids[name]) is None}
    assert without == WITHOUT_PLACE | {"entitlements.active_entitlement_summary"}  # whose list can be


def _texts(name: str) -> list[str]:
    return [key for key, field in objects.fields(name).items() if field.kind in ("string", "expandable")]
