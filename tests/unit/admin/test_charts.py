"""Pictures: an arrow passes behind no box that it has nothing to do with."""

from __future__ import annotations

import re

from gateway.admin.console.charts import BOX_HEIGHT, Box, Stack, bars, graph


def test_an_arrow_over_several_columns_goes_by_a_place_of_its_own() -> None:
    columns = [[Box("a", "a")], [Box("b", "b")], [Box("c", "c")]]
    drawn = str(graph(columns, [("a", "b"), ("a", "c")], "x"))
    ((left, top, width),) = [
        (float(x), float(y), float(wide))
        for x, y, wide, text in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)".*?>(\w)</text>', drawn)
        if text == "b"
    ]
    level = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in re.findall(
        r'd="M([\d.]+) ([\d.]+) C[\d. ]+? ([\d.]+) ([\d.]+)" class="arrow"', drawn)]  # fmt: skip
    through = [(y1, y2) for x1, y1, x2, y2 in level if x1 <= left and x2 >= left + width]
    assert through
    assert not any(top <= y <= top + BOX_HEIGHT for pair in through for y in pair)


def test_bars_have_their_greatest_number_and_five_times() -> None:
    drawn = str(bars([Stack(f"{hour:02}:00", {"routed": 1000 * hour}) for hour in range(24)], ["routed"], "x"))
    assert "<span>23,000</span><span>0</span>" in drawn
    assert re.findall(r"<span>(\d\d:00)</span>", drawn) == ["00:00", "06:00", "12:00", "18:00", "23:00"]
    assert "<span>" not in str(bars([], ["routed"], "x")).partition('class="times"')[2]
