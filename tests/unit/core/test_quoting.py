"""What a destination said goes into an error on one line, cut, and without secrets, also where the cut goes through."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest
from stripe import StripeError

from actions import publish
from actions.mail_headers import header_fault, unsubscribe_fault
from gateway.core.masking import Masker
from gateway.plugin import quoted
from gateway.plugin.database import told as told_of_database
from gateway.plugin.mail_address import mail_addresses
from gateway.plugin.quoting import hiding
from gateway.stripe.api import _said

SECRET = "tok_live_0123456789"


@pytest.mark.parametrize("before", range(25))
def test_nothing_of_a_secret_is_left_wherever_the_cut_falls(before: int) -> None:
    with hiding(Masker([SECRET]).mask):
        told = quoted("." * before + SECRET + "\nand more", 20)
    assert "tok_l" not in told
    assert len(told) <= 20


def test_it_is_one_line_of_printable_characters() -> None:
    assert quoted(" no\r\n\x1b[31msuch   thing\x00 ", 80) == "no [31msuch thing"


def test_once_the_block_has_ended_nothing_is_hidden() -> None:
    with hiding(Masker([SECRET]).mask):
        pass
    assert quoted(SECRET, 80) == SECRET


async def test_a_task_that_outlives_the_block_keeps_nothing_of_it_and_hides_the_configuration_s_secrets() -> None:
    class Run:
        def hidden(self, text: str) -> str:
            return text.replace("customer", "***")

    run, ended = Run(), asyncio.Event()
    kept = weakref.ref(run)

    async def broker() -> str:
        await ended.wait()
        return quoted(f"customer {SECRET}", 80)

    with hiding(run.hidden, Masker([SECRET]).mask):
        assert quoted("a customer", 80) == "a ***"
        task = asyncio.create_task(broker())
    del run
    gc.collect()
    assert kept() is None
    ended.set()
    assert await task == "customer ***"


CUT = "." * 90 + SECRET


@pytest.mark.parametrize(
    "told",
    [
        lambda: header_fault("." * 35 + SECRET, False),
        lambda: unsubscribe_fault([CUT]),
        lambda: publish._header_fault("a: " + "." * 32 + SECRET, ""),
        lambda: publish._header_fault("a" + "." * 32 + SECRET, "\n"),
        lambda: _refusal_of(CUT),
        lambda: _refusal_of(f"a@b.{CUT}"),
        lambda: told_of_database(ValueError("." * 390 + SECRET), "postgresql://me@db/shop"),
        lambda: _said(StripeError(json_body={"error": {"message": "." * 490 + SECRET}})),
    ],
)
def test_what_a_secret_is_cut_from_is_hidden_before(told: Callable[[], object]) -> None:
    with hiding(Masker([SECRET]).mask):
        assert "tok_l" not in str(told())
    assert "tok_l" in str(told())


def _refusal_of(text: str) -> str:
    with pytest.raises(ValueError, match="is no") as refused:
        mail_addresses(text)
    return str(refused.value)
