"""Where Stripe's API has an object. https://docs.stripe.com/api, https://docs.stripe.com/api-v2-overview"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OTHERS = {  # whose place is not their name with an s
    "application_fee": "/v1/application_fees",
    "balance": None,  # there is one, so that it has no id
    "bank_account": "/v1/accounts/{account}/external_accounts",
    "capability": "/v1/accounts/{account}/capabilities",
    "card": "/v1/customers/{customer}/sources",
    "cash_balance": None,
    "customer_cash_balance_transaction": "/v1/customers/{customer}/cash_balance_transactions",
    "discount": None,
    "fee_refund": "/v1/application_fees/{fee}/refunds",
    "person": "/v1/accounts/{account}/persons",
    "scheduled_query_run": "/v1/sigma/scheduled_query_runs",
    "v2.commerce.product_catalog_import": "/v2/commerce/product_catalog/imports",
    "v2.core.account_person": "/v2/core/accounts/{account}/persons",
}
_WITHOUT_ID = {"balance": "/v1/balance", "balance_settings": "/v1/balance_settings", "tax.settings": "/v1/tax/settings"}


def url_of(value: Mapping[str, Any]) -> str | None:
    """The path of an object, such as /v1/checkout/sessions/cs_test_1; None for what the API does not retrieve."""
    name = str(value["object"])
    if "id" not in value:
        return _WITHOUT_ID.get(name)
    place = _OTHERS.get(name, folder_of(name))
    return place and f"{place.format_map(value)}/{value['id']}"


def folder_of(name: str) -> str:
    """Where the API has the objects of a name, such as /v1/checkout/sessions."""
    version, short = ("/v2/", name[3:]) if name.startswith("v2.") else ("/v1/", name)
    plural = (
        short[:-1] + "ies"
        if short.endswith("ty")
        else short
        if short.endswith("s")
        else short + ("es" if short.endswith("ss") else "s")
    )
    return version + plural.replace(".", "/")
