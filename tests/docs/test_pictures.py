"""The pictures in README and docs show the program as it is."""

from __future__ import annotations

from tests.docs.pictures import MADE_FROM, PICTURES, SHOWN, digest, made_from


def test_every_picture_was_made_from_what_it_shows() -> None:
    assert MADE_FROM.read_text() == made_from(), "make pictures"
    assert {path.name for path in PICTURES.iterdir()} == {*SHOWN, MADE_FROM.name}


def test_what_a_picture_shows_is_there() -> None:
    for paths in SHOWN.values():
        assert digest(paths) != digest([])
