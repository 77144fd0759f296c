"""What actions write at Stripe: methods that are there, that the accounts allow, with as many ids as they take."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from gateway.config.diagnostics.problem import Problem
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.model import Account
from gateway.plugin import CallsStripe


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """One action's `with`, as far as it says what is called."""

    at: Path_  # of `with`
    field: str  # that names the method
    method: str
    written: Mapping[str, Any]
    mark: CallsStripe


def check_may(accounts: Mapping[str, Account], source: Source) -> Iterator[Problem]:
    """Methods in an account's `may` that Stripe's API does not have."""
    for name, account in accounts.items():
        written = source.section("accounts").get(name)
        listed = written.get("may") if isinstance(written, Mapping) else None
        for place, method in enumerate(listed if isinstance(listed, list) and account.may else ()):
            if isinstance(method, str):
                yield from _unknown(method, ("accounts", name, "may", place), source)


def check_call(
    call: WrittenCall, accounts: Collection[Account], unfilled: AbstractSet[str], source: Source
) -> Iterator[Problem]:
    """A method that is not there, that an account does not allow or has no key for, and too few or many ids."""
    from gateway.stripe.methods import method_named

    where = source.where((*call.at, call.field))
    unknown = list(_unknown(call.method, (*call.at, call.field), source))
    method = method_named(call.method)
    if method is None:
        yield from unknown
        return
    for account in accounts:
        if call.method not in account.may:
            message = f"account {account.name} does not allow {call.method}"
            hint = f"name it there, if it is meant: may: [{', '.join(sorted({*account.may, call.method}))}]"
            yield Problem(where, message, hint, code="stripe-method")
        if not account.api_key and source.where(("accounts", account.name, "api_key")).path not in unfilled:
            yield Problem(
                where,
                f"account {account.name} has no api_key to write to Stripe with",
                f"set accounts.{account.name}.api_key to a restricted key that may write what {call.method} does",
                code="missing-api-key",
            )
    ids = call.written.get(call.mark.ids)
    count = len(ids) if isinstance(ids, list) else 0 if ids is None else 1
    if count != len(method.ids) and not (len(method.ids) > 1 and isinstance(ids, str) and "{{" in ids):
        yield Problem(source.where_key((*call.at, call.mark.ids)), _ids_told(call, method.ids), code="stripe-method")


def _ids_told(call: WrittenCall, ids: Sequence[str]) -> str:
    if not ids:
        return f"{call.method} takes no {call.mark.ids}: what it needs goes into {call.mark.params}"
    several = f"a list of {len(ids)}: " if len(ids) > 1 else ""
    return f"{call.method} takes {several}the {call.mark.ids} of the {' and the '.join(ids)}"


def _unknown(method: str, path: Path_, source: Source) -> Iterator[Problem]:
    from gateway.stripe.methods import did_you_mean_method, method_named

    if method_named(method) is None:
        near = did_you_mean_method(method)
        hint = f"did you mean {near}?" if near else "as the official Python library names it, such as refunds.create"
        message = f"Stripe's API has no method {method[:80]} that writes"
        yield Problem(source.where(path), message, hint, code="stripe-method")
