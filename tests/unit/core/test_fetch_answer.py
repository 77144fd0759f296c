"""What `fetch` brings is kept so that gateways of the version before read it too."""

from __future__ import annotations

import json

import pytest

from gateway.core.fetch_answer import FetchAnswer, as_if_whole, cut_lists, holds_lists, read_answer
from gateway.core.routing import with_fetched

GONE = {"id": "cus_1", "object": "customer", "deleted": True}
EVENT = {"id": "evt_1", "object": "v2.core.event", "data": {"a": 1}}


@pytest.mark.parametrize(
    "answer",
    [
        FetchAnswer({"id": "cus_1", "object": "customer"}),
        FetchAnswer(GONE),
        FetchAnswer(GONE, not_found="No such customer"),
        FetchAnswer({"id": "cus_1", "object": "customer"}, EVENT),
        FetchAnswer(GONE, EVENT, "No such customer"),
        FetchAnswer(EVENT, EVENT),
    ],
)
def test_what_was_kept_is_read_again(answer: FetchAnswer) -> None:
    assert read_answer(json.loads(json.dumps(answer.kept()))) == answer


def test_an_object_that_is_not_there_is_one_that_is_deleted_for_the_version_before() -> None:
    kept = FetchAnswer(GONE, not_found="No such customer").kept()
    assert {**GONE, "deleted": True}.items() <= kept.items()
    assert with_fetched({"event": {}}, kept)["object"] == GONE


def test_the_event_and_what_was_before_come_with_it() -> None:
    changes = {"before": {"email": "old@example.com"}, "after": {}}
    kept = FetchAnswer({"id": "cus_1", "object": "customer"}, {**EVENT, "changes": changes}).kept()
    scope = with_fetched({"event": {"id": "evt_1", "context": "acct_1"}, "previous": {}}, kept)
    assert scope["event"] == {"context": "acct_1", **EVENT, "changes": changes}
    assert scope["previous"] == {"email": "old@example.com"}
    assert scope["object"] == {"id": "cus_1", "object": "customer", "deleted": False}


def test_lists_are_found_wherever_they_are() -> None:
    inner = {"object": "list", "has_more": True, "data": []}
    value = {"a": [{"b": {"object": "list", "has_more": False, "data": [{"c": inner}]}}], "object": "x"}
    assert cut_lists(value) == [inner]
    assert cut_lists(as_if_whole(value)) == []
    assert cut_lists(value) == [inner]
    assert holds_lists(value)
    assert not holds_lists({"a": [{"object": "x"}]})
