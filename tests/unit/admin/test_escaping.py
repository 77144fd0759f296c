"""What strangers wrote, on a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from markupsafe import Markup

from gateway.admin.amounts import ago, duration, size
from gateway.admin.console.charts import Box, Stack, bars, graph
from gateway.admin.console.escaping import finalize, pretty, short, visible
from gateway.admin.reports.dead_causes import cause_of


def test_what_cannot_be_seen_is_shown_as_its_code() -> None:
    assert visible("a\x1b[31mb\u202ec\u200bd\x9be\ufeff") == "a\\u001b[31mb\\u202ec\\u200bd\\u009be\\ufeff"
    assert visible("líne\none\ttwo שלום") == "líne\none\ttwo שלום"
    assert visible("\ud800") == "\ufffd"


def test_json_is_escaped_coloured_and_bounded() -> None:
    shown = pretty({"<b>": "</pre><script>alert(1)</script>", "n": 1.5, "t": True})
    assert "<script>" not in shown
    assert '<span class="j-key">&#34;&lt;b&gt;&#34;</span>' in shown
    assert '<span class="j-number">1.5</span>' in shown
    long = pretty({"a": "<" * 5_000_000})
    assert len(long) < 1_000_000
    assert "Cut here: the whole is 5,000,01" in long


def test_only_what_is_not_markup_is_changed_on_its_way_out() -> None:
    assert finalize(None) == ""
    assert finalize("\x1b") == "\\u001b"
    assert finalize(Markup("<b>\x1b</b>")) == "<b>\x1b</b>"
    assert finalize(5) == 5


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0123, "12 ms"), (3.44, "3.4 s"), (61, "61 s"), (300, "5 min"), (7200, "2 h"), (3 * 86400, "3 d")],
)
def test_durations_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_times_and_sizes_for_people() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    assert ago(now - timedelta(minutes=5), now) == "5 min ago"
    assert ago(now + timedelta(seconds=20), now) == "in 20 s"
    assert ago(None) == ""
    assert [size(999), size(1_500), size(2_000_000), size(3_400_000_000)] == ["999 B", "1.5 kB", "2.0 MB", "3.4 GB"]
    assert short("abcdef", 4) == "abc…"


def test_reasons_that_differ_in_ids_and_numbers_are_one_cause() -> None:
    one = "HTTP 500 from shop: request req_8dUlnAdlqX for evt_1SfRtq2eZvKYlo2C (attempt 3 of 20, the last)"
    two = "HTTP 500 from shop: request req_Zb99dlqXaa for evt_1SfRtq2eZvKYAAAA (attempt 20 of 20, the last)"
    assert cause_of(one) == cause_of(two) == "HTTP 500 from shop: request … for …"
    assert cause_of("no column 'amount' in orders") == "no column 'amount' in orders"
    assert len(cause_of("x y " * 1000)) == 240


def test_pictures_escape_what_they_show() -> None:
    drawn = graph([[Box("a", "<script>", "x", "/a?b&c")], [Box("b", "b\u202e")]], [("a", "b"), ("a", "gone")], "<t>")
    assert "<script>" not in drawn
    assert "&lt;script&gt;" in drawn
    assert drawn.count('class="head"') == 1
    assert "\u202e" not in drawn
    chart = bars([Stack("<i>", {"dead": 2})], ["dead"], "<t>")
    assert "<i>" not in chart
    assert 'class="fill-dead"' in chart
    assert "<svg" in bars([], ["dead"], "none")
