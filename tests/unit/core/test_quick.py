"""Records that are made quickly are the same dataclasses: frozen, with their defaults, compared and copied as ever."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from datetime import UTC, datetime

import pytest

from gateway.core.model import Event, EventState
from gateway.core.quick import quick


@dataclass(frozen=True, slots=True)
class Parcel:
    to: str
    weight: float = 1.5
    notes: list[str] = field(default_factory=list)


@quick
@dataclass(frozen=True, slots=True)
class QuickParcel:
    to: str
    weight: float = 1.5
    notes: list[str] = field(default_factory=list)


def test_it_is_made_as_the_dataclass_is_with_defaults_and_a_new_list_for_each() -> None:
    parcel = QuickParcel("Ada", notes=["fragile"])
    assert type(parcel) is QuickParcel
    assert (parcel.to, parcel.weight, parcel.notes) == ("Ada", 1.5, ["fragile"])
    first, second = QuickParcel("Ada"), QuickParcel("Ada")
    assert first == second == QuickParcel(to="Ada", weight=1.5, notes=[])
    assert first.notes is not second.notes
    assert str(inspect.signature(QuickParcel)) == str(inspect.signature(Parcel))
    assert repr(first).replace("Quick", "") == repr(Parcel("Ada"))


def test_it_cannot_be_changed_and_is_copied_as_it_is() -> None:
    parcel = QuickParcel("Ada", 2.0)
    with pytest.raises(FrozenInstanceError):
        parcel.to = "Bob"  # type: ignore[misc]
    assert replace(parcel, to="Bob") == QuickParcel("Bob", 2.0)
    for copied in (copy.copy(parcel), copy.deepcopy(parcel), pickle.loads(pickle.dumps(parcel))):
        assert copied == parcel
        assert type(copied) is QuickParcel


def test_what_is_missing_or_too_much_is_told_by_the_records_own_name() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'to'"):
        QuickParcel()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'from_'"):
        QuickParcel("Ada", from_="Bob")  # type: ignore[call-arg]


class LabelledParcel(QuickParcel):
    """As a plugin's author may write one, of the records that plugins see."""

    @property
    def label(self) -> str:
        return f"to {self.to}"


def test_one_of_a_subclass_is_made_with_all_that_its_class_has() -> None:
    parcel = LabelledParcel("Ada", notes=["fragile"])
    assert type(parcel) is LabelledParcel
    assert (parcel.label, parcel.weight, parcel.notes) == ("to Ada", 1.5, ["fragile"])
    assert LabelledParcel("Ada").notes is not LabelledParcel("Ada").notes
    with pytest.raises(FrozenInstanceError):
        parcel.to = "Bob"  # type: ignore[misc]


def test_an_event_with_another_body_is_else_the_same_in_every_field() -> None:
    told = datetime(2026, 1, 2, tzinfo=UTC)
    event = Event("acme", "evt_1", "charge.updated", EventState.ROUTED, True, told, b"old", told, "acct_1", "ch_1", "v")
    left = {"account", "id", "type", "state", "livemode", "received_at", "body", "created_at", "source"}
    named = {part.name: part.name for part in fields(Event) if part.name not in left}
    event = replace(event, **named)  # type: ignore[arg-type]  # each field a value of its own
    assert event.with_body(b"new") == replace(event, body=b"new")
