"""How much of a connection may be claimed, and whose turn it is."""

from __future__ import annotations

import pytest

from gateway.core.model import Lane
from gateway.delivery.fair_share import MOST_REMEMBERED, Limit, Turns
from gateway.plugin import Rate


def test_a_fresh_lane_among_thousands_is_served_in_its_turn() -> None:
    turns = Turns()
    flood = [Lane("acme", f"route-{i}", f"action-{j}") for i in range(50) for j in range(40)]
    served = [next(iter(turns.share(flood, 1))) for _ in range(100)]
    assert len(set(served)) == 100
    fresh = Lane("other", "fresh", "a")
    assert list(turns.share([*flood, fresh], 1)) == [fresh]
    both = turns.share([*flood, fresh], 10)
    assert both[fresh] == 5  # an account's share, however many lanes the other has


def test_lanes_that_are_alone_get_all_the_room() -> None:
    lane = Lane("acme", "fulfil", "save")
    assert Turns().share([lane], 7) == {lane: 7}
    assert Turns().share([], 7) == {}
    assert Turns().share([lane], 0) == {}


def test_what_is_remembered_of_turns_is_bounded() -> None:
    turns = Turns()
    for i in range(MOST_REMEMBERED):
        turns.share([Lane("acme", f"route-{i}", "a")], 1)
    assert len(turns._served) <= MOST_REMEMBERED + 3


def test_without_a_rate_a_little_is_claimed_ahead_of_quick_attempts() -> None:
    limit = Limit(concurrency=4, rate=None)
    assert limit.room(0) == 8  # attempts are taken to last 50 ms at first
    limit.take(8, 0)
    assert limit.room(0) == 0
    assert limit.opens_in(0) is None
    for _ in range(8):
        limit.give_back(30.0)
    assert limit.room(0) == 4


def test_a_rate_fills_steadily_and_claims_nothing_ahead() -> None:
    limit = Limit(concurrency=4, rate=Rate(10, 1.0), tokens=1.0)
    assert limit.room(0.0) == 1
    limit.take(1, 0.0)
    assert limit.room(0.0) == 0
    assert limit.opens_in(0.0) == pytest.approx(0.1)
    assert limit.room(0.35) == 3  # 3.5 tokens, 3 places
    assert limit.room(100.0) == 3  # 10 tokens, still 3 places: one of 4 is held
    limit.give_back(0.01)
    assert limit.room(100.0) == 4


def test_a_rate_that_others_have_used_up_is_left_alone_for_a_moment() -> None:
    limit = Limit(concurrency=4, rate=Rate(2, 1.0), tokens=1.0)
    assert limit.room(10.0) == 2
    limit.take(0, 10.0)
    assert limit.room(10.1) == 0
    assert limit.opens_in(10.1) == pytest.approx(0.4)
    assert limit.room(10.5) == 2
    slow = Limit(concurrency=1, rate=Rate(1, 3600.0), tokens=1.0)
    slow.take(0, 10.0)
    assert slow.room(11.0) == 1  # asked for again after a second at most
