"""Inline SVG without a script: bars over time, and graphs of boxes and arrows. Everything in it is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gateway.admin.console.escaping import short, visible

BAR_WIDTH, BAR_HEIGHT = 640, 120
BOX_HEIGHT, ROW, COLUMN_GAP = 34, 46, 70
CHARACTER = 7.4  # width of one in a box


@dataclass(frozen=True, slots=True)
class Stack:
    """One bar: its label, and how much of each kind."""

    label: str
    parts: Mapping[str, int]
    href: str | None = None  # where a click on it leads


def bars(stacks: Sequence[Stack], kinds: Sequence[str], title: str) -> Markup:
    """Stacked bars over time. Each kind is a CSS class `fill-KIND`."""
    most = max((sum(stack.parts.values()) for stack in stacks), default=0) or 1
    width = BAR_WIDTH / max(1, len(stacks))
    groups = []
    for i, stack in enumerate(stacks):
        top = float(BAR_HEIGHT)
        told = ", ".join(f"{stack.parts[kind]} {kind}" for kind in kinds if stack.parts.get(kind))
        shapes = []
        for kind in kinds:
            count = stack.parts.get(kind, 0)
            if not count:
                continue
            height = max(1.5, count / most * (BAR_HEIGHT - 4))
            top -= height
            x, wide = i * width + 0.75, max(1.0, width - 1.5)
            shapes.append(
                Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="fill-{}"/>').format(
                    x, top, wide, height, kind
                )
            )
        if shapes:
            group = Markup("<g><title>{}: {}</title>{}</g>").format(stack.label, told, Markup("").join(shapes))
            if stack.href is not None:
                link = Markup('<a href="{}" aria-label="{}: {}">{}</a>')
                group = link.format(stack.href, stack.label, told, group)
            groups.append(group)
    role = "figure" if any(stack.href for stack in stacks) else "img"
    plot = _plot(f"{most:,}", [stack.label for stack in stacks], groups, title, role)
    return plot + Markup('<p class="read">{}</p>').format(_in_words(stacks, kinds))


def _in_words(stacks: Sequence[Stack], kinds: Sequence[str]) -> str:
    """What bars show, for who does not see them: how many of each kind, and when there were most."""
    totals = {kind: sum(stack.parts.get(kind, 0) for stack in stacks) for kind in kinds}
    told = ", ".join(f"{count:,} {kind}" for kind, count in totals.items() if count)
    if not told:
        return "None."
    busiest = max(stacks, key=lambda stack: sum(stack.parts.values()))
    return f"{told}; most at {busiest.label}: {sum(busiest.parts.values()):,}."


def _plot(most: str, labels: Sequence[str], shapes: Sequence[Markup], title: str, role: str) -> Markup:
    """Shapes between the axes, with what stands beside these."""
    drawn = Markup(
        '<svg class="chart" viewBox="0 0 {0} {1}" preserveAspectRatio="none" role="{5}" aria-label="{2}">{3}'
        '<line x1="0" y1="{4}" x2="{0}" y2="{4}" class="axis"/><line x1="0" y1="4" x2="{0}" y2="4" class="axis"/></svg>'
    ).format(BAR_WIDTH, BAR_HEIGHT + 1, title, Markup("").join(shapes), BAR_HEIGHT, role)
    times = [labels[place] for place in _ticks(len(labels))] if labels else []
    return Markup(
        '<div class="plot"><div class="heights" aria-hidden="true"><span>{}</span><span>0</span></div>{}'
        '<div class="times" aria-hidden="true">{}</div></div>'
    ).format(most, drawn, Markup("").join(Markup("<span>{}</span>").format(label) for label in times))


@dataclass(frozen=True, slots=True)
class Level:
    """The values of one stretch of time: its label, and one of each kind that is known of it."""

    label: str
    values: Mapping[str, float]


def levels(points: Sequence[Level], kinds: Mapping[str, str], title: str, told: Callable[[float], str]) -> Markup:
    """Lines over time, each kind a CSS class `level-KIND` with its words, and below them in words what they show: the
    last values and the highest. `told` says a value. Where none is known there is a gap.
    """
    known = [point for point in points if point.values]
    if not known:
        return Markup('<p class="empty">Nothing yet.</p>')
    most = max(value for point in known for value in point.values.values())
    width = BAR_WIDTH / len(points)
    shapes = [_level_line(points, kind, most or 1, width) for kind in kinds]
    for i, point in enumerate(points):
        if point.values:
            words = ", ".join(f"{kinds[kind]} {told(point.values[kind])}" for kind in kinds if kind in point.values)
            hover = Markup(
                '<g><title>{}: {}</title><rect x="{:.1f}" y="0" width="{:.1f}" height="{}" class="over"/></g>'
            )
            shapes.append(hover.format(point.label, words, i * width, width, BAR_HEIGHT))
    last = known[-1]
    highest = max(known, key=lambda point: max(point.values.values()))
    words = ", ".join(f"{kinds[kind]} {told(last.values[kind])}" for kind in kinds if kind in last.values)
    caption = Markup('<p class="read">{}: {}. The most was {}, {}.</p>').format(
        last.label, words, told(most), highest.label
    )
    return _plot(told(most), [point.label for point in points], shapes, title, "img") + caption


def _level_line(points: Sequence[Level], kind: str, most: float, width: float) -> Markup:
    path, is_drawn = [], False
    for i, point in enumerate(points):
        value = point.values.get(kind)
        if value is not None:
            y = BAR_HEIGHT - value / most * (BAR_HEIGHT - 6) - 1
            path.append(f"{'L' if is_drawn else 'M'}{i * width:.1f} {y:.1f}H{(i + 1) * width:.1f}")
        is_drawn = value is not None
    return Markup('<path d="{}" class="level level-{}"/>').format("".join(path), kind)


def _ticks(count: int) -> list[int]:
    """The bars whose times stand below the axis: the first, the last, and those a quarter apart between."""
    return sorted({min(count - 1, count * quarter // 4) for quarter in range(5)})


@dataclass(frozen=True, slots=True)
class Box:
    """One box of a graph."""

    key: str
    text: str
    kind: str = ""  # a CSS class box-KIND
    href: str | None = None


def graph(columns: Sequence[Sequence[Box]], arrows: Sequence[tuple[str, str]], title: str) -> Markup:
    """Boxes in columns, and arrows between them by key. An arrow over several columns goes by a free place in each,
    which all that lead to the same box share: none passes behind a box that it has nothing to do with.
    """
    column_of = {box.key: i for i, column in enumerate(columns) for box in column}
    known = [arrow for arrow in dict.fromkeys(arrows) if arrow[0] in column_of and arrow[1] in column_of]
    passing: list[dict[str, None]] = [{} for _ in columns]  # the ends of arrows that only go through a column
    for start, end in known:
        for i in range(column_of[start] + 1, column_of[end]):
            passing[i][end] = None
    widths = [max((len(short(box.text, 34)) for box in column), default=4) * CHARACTER + 22 for column in columns]
    rows = max((len(column) + len(ends) for column, ends in zip(columns, passing, strict=True)), default=0)
    places: dict[tuple[int, str], tuple[float, float, float]] = {}  # column and key -> left, middle, right
    shapes: list[Markup] = []
    left = 1.0
    for number, (column, width) in enumerate(zip(columns, widths, strict=True)):
        offset = (rows - len(column) - len(passing[number])) * ROW / 2
        for i, key in enumerate([*(box.key for box in column), *passing[number]]):
            places[number, key] = (left, offset + i * ROW + 1 + BOX_HEIGHT / 2, left + width)
        shapes += [_box(box, left, offset + i * ROW + 1, width) for i, box in enumerate(column)]
        left += width + COLUMN_GAP
    lines: dict[Markup, None] = {}
    for start, end in known:
        here = places[column_of[start], start]
        for i in range(column_of[start] + 1, column_of[end]):
            lines[_line(*here[1:], *places[i, end][:2])] = None
            here = places[i, end]
            lines[_line(here[1], here[0], here[2], here[1])] = None
        lines[_line(*here[1:], *places[column_of[end], end][:2], room=5) + _head(*places[column_of[end], end][:2])] = (
            None
        )
    width, height = max(10.0, left - COLUMN_GAP + 1), max(10.0, rows * ROW - (ROW - BOX_HEIGHT) + 2)
    return Markup(
        '<svg class="graph" viewBox="0 0 {0:.0f} {1:.0f}" width="{0:.0f}" height="{1:.0f}" role="figure"'
        ' aria-label="{2}">{3}{4}</svg>'
    ).format(width, height, visible(title), Markup("").join(lines), Markup("").join(shapes))


def _line(y1: float, x1: float, x2: float, y2: float, room: float = 0) -> Markup:
    bend = max(20.0, (x2 - x1) / 2)
    return Markup('<path d="M{:.1f} {:.1f} C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}" class="arrow"/>').format(
        x1, y1, x1 + bend, y1, x2 - bend, y2, x2 - room, y2
    )


def _head(x: float, y: float) -> Markup:
    return Markup('<path d="M{:.1f} {:.1f} l-7 -4 v8 z" class="head"/>').format(x, y)


def _box(box: Box, left: float, top: float, width: float) -> Markup:
    drawn = Markup(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" rx="6" class="box box-{}"/>'
        '<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text><title>{}</title>'
    ).format(
        left,
        top,
        width,
        BOX_HEIGHT,
        box.kind,
        left + width / 2,
        top + BOX_HEIGHT / 2 + 5,
        visible(short(box.text, 34)),
        visible(short(box.text, 300)),
    )
    if box.href is None:
        return Markup("<g>{}</g>").format(drawn)
    return Markup('<a href="{}">{}</a>').format(box.href, drawn)
