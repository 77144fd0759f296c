"""Pictures: an arrow passes behind no box that it has nothing to do with, what is drawn is told in words too."""

from __future__ import annotations

import re

from gateway.admin.console.charts import BOX_HEIGHT, Box, Level, Stack, bars, graph, levels


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


def test_bars_say_in_words_how_many_there_were_and_when_most() -> None:
    stacks = [Stack("08:00", {"routed": 2}), Stack("09:00", {"routed": 1200, "ignored": 1}), Stack("10:00", {})]
    words = str(bars(stacks, ["routed", "ignored"], "x")).partition('class="read">')[2]
    assert words == "1,202 routed, 1 ignored; most at 09:00: 1,201.</p>"
    assert "None." in str(bars([Stack("08:00", {})], ["routed"], "x"))


def test_levels_leave_a_gap_where_nothing_is_known_and_say_what_they_show() -> None:
    points = [Level("08:00", {"half": 2, "most": 8}), Level("09:00", {}), Level("10:00", {"half": 1, "most": 4})]
    drawn = str(levels(points, {"half": "half within", "most": "99 of 100 within"}, "Time <b>", "{:.0f} s".format))
    half, most = re.findall(r'<path d="([^"]*)" class="level level-(?:half|most)"/>', drawn)
    assert (half.count("M"), half.count("L"), most.count("M")) == (2, 0, 2)
    assert "<title>08:00: half within 2 s, 99 of 100 within 8 s</title>" in drawn
    assert "10:00: half within 1 s, 99 of 100 within 4 s. The most was 8 s, 08:00." in drawn
    assert "<span>8 s</span><span>0</span>" in drawn
    assert "Time &lt;b&gt;" in drawn
    assert "Nothing yet." in str(levels([Level("08:00", {})], {"half": "half within"}, "x", str))


def test_levels_that_follow_each_other_are_one_line() -> None:
    points = [Level("08:00", {"half": 0}), Level("09:00", {"half": 10})]
    (line,) = re.findall(r'<path d="([^"]*)"', str(levels(points, {"half": "half"}, "x", str)))
    assert line == "M0.0 119.0H320.0L320.0 5.0H640.0"
