"""What is written at Stripe is checked at load: the method is there, allowed, and has its ids; the account has a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.diagnostics.problem import ConfigError
from gateway.config.load import load
from gateway.stripe.methods import did_you_mean_method, method_named

YAML = """\
version: 1
accounts:
  acme:
    signing_secrets: [whsec_c2VjcmV0]
    {account}
routes:
  r:
    events: [charge.refunded]
    actions:
      a:
        uses: stripe_call
        with: {written}
"""
KEY = "api_key: rk_test_0123456789abcdef"


def told(folder: Path, account: str, written: str) -> list[str]:
    """Every error, with its place and hint."""
    path = folder / "gateway.yaml"
    path.write_text(YAML.format(account=account.replace("; ", "\n    "), written=written))
    try:
        load(path, {})
    except ConfigError as error:
        return [f"{problem.where.path}: {problem.message} ({problem.hint})" for problem in error.problems]
    return []


AT = "routes.r.actions.a.with"


@pytest.mark.parametrize(
    ("account", "written", "problems"),
    [
        (f"{KEY}; may: [refunds.create]", '{method: refunds.create, params: {charge: "{{ object.id }}"}}', []),
        (KEY, "{method: refunds.create}",
         [f"{AT}.method: account acme does not allow refunds.create (name it there, if it is meant: "
          "may: [refunds.create])"]),
        (f"{KEY}; may: [customers.update]", "{method: refunds.create}",
         [f"{AT}.method: account acme does not allow refunds.create (name it there, if it is meant: "
          "may: [customers.update, refunds.create])"]),
        ("may: [refunds.create]", "{method: refunds.create}",
         [f"{AT}.method: account acme has no api_key to write to Stripe with (set accounts.acme.api_key to a "
          "restricted key that may write what refunds.create does)"]),
        (f"{KEY}; may: [refund.create]", "{method: refunds.creat}",
         ["accounts.acme.may[0]: Stripe's API has no method refund.create that writes (did you mean refunds.create?)",
          f"{AT}.method: Stripe's API has no method refunds.creat that writes (did you mean refunds.create?)"]),
        (f"{KEY}; may: [customers.retrieve]", "{method: customers.retrieve, id: cus_1}",
         ["accounts.acme.may[0]: Stripe's API has no method customers.retrieve that writes (as the official Python "
          "library names it, such as refunds.create)",
          f"{AT}.method: Stripe's API has no method customers.retrieve that writes (as the official Python "
          "library names it, such as refunds.create)"]),
        (f"{KEY}; may: [customers.update]", "{method: customers.update}",
         [f"{AT}.id: customers.update takes the id of the customer (None)"]),
        (f"{KEY}; may: [refunds.create]", '{method: refunds.create, id: "{{ object.id }}"}',
         [f"{AT}.id: refunds.create takes no id: what it needs goes into params (None)"]),
        (f"{KEY}; may: [accounts.persons.update]", "{method: accounts.persons.update, id: acct_1}",
         [f"{AT}.id: accounts.persons.update takes a list of 2: the id of the account and the person (None)"]),
        (f"{KEY}; may: [refunds.create]", '{method: "{{ object.method }}"}',
         [f"{AT}.method: method is taken as it is written: no template may stand in it (name the method; what differs "
          "goes into params)"]),
    ],
)  # fmt: skip
def test_a_call_that_could_never_be_made_is_told_at_load(
    tmp_path: Path, account: str, written: str, problems: list[str]
) -> None:
    assert told(tmp_path, account, written) == problems


@pytest.mark.parametrize(
    ("name", "verb", "path"),
    [
        ("refunds.create", "post", "/v1/refunds"),
        ("customers.update", "post", "/v1/customers/a%2Fb"),
        ("subscriptions.cancel", "delete", "/v1/subscriptions/a%2Fb"),
        ("customers.balance_transactions.update", "post", "/v1/customers/a%2Fb/balance_transactions/c"),
        ("checkout.sessions.expire", "post", "/v1/checkout/sessions/a%2Fb/expire"),
    ],
)
def test_methods_are_those_of_the_official_library(name: str, verb: str, path: str) -> None:
    method = method_named(name)
    assert method is not None
    assert (method.verb, method.path_for(["a/b", "c"])) == (verb, path)


@pytest.mark.parametrize(
    "name",
    ["", "refunds", "refunds.list", "customers.search", "quotes.pdf", "files.create", "refunds.create_async",
     "refunds.__init__", "__class__.mro", "refunds._requestor", "v2.core.events.retrieve"],
)  # fmt: skip
def test_what_only_reads_sends_no_form_or_is_no_method_is_none(name: str) -> None:
    assert method_named(name) is None


def test_the_nearest_method_is_named() -> None:
    names = ("refund.create", "refunds.creat", "customers.updat", "nonsense.create")
    assert [did_you_mean_method(name) for name in names] == ["refunds.create"] * 2 + ["customers.update", None]
