"""What tables look like on terminals of any width."""

from __future__ import annotations

import re
import sys

import pytest

from gateway.cli.output import print_table

DELIVERY, EVENT = "dlv_01a2062de200db7a5b2aaa27205252ce", "evt_1PabcdefghijklmnopqrstuvA"
STYLES = re.compile(r"\x1b\[\d*m")
COLUMNS = ["id", "event_id", "route", "action", "state", "attempts", "next_attempt_at", "last_error"]
ROW: list[object] = [DELIVERY, EVENT, "fulfil-orders", "save", "dead", 20, None, "Connection refused by the warehouse"]


@pytest.mark.parametrize("width", [40, 80, 120, 160, 240])
def test_ids_can_be_copied_at_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    print_table(COLUMNS, [ROW, ROW])
    print_table(["received", "id", "type"], [["2026-11-30T09:05:12.123+00:00", EVENT, "checkout.session.completed"]])
    printed = STYLES.sub("", capsys.readouterr().out)
    assert printed.count(DELIVERY) == 2
    assert printed.count(EVENT) == 3
    if width >= 120:
        assert max(map(len, printed.splitlines())) <= width


def test_where_ids_leave_no_room_each_row_is_shown_as_fields(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    print_table(COLUMNS, [ROW])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"id              {DELIVERY}", f"event_id        {EVENT}"]
    assert lines[-1] == ""
