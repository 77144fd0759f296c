"""Inline SVG without a script: bars over time, and graphs of boxes and arrows. Everything in it is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
            groups.append(Markup("<g><title>{}: {}</title>{}</g>").format(stack.label, told, Markup("").join(shapes)))
    return Markup(
        '<svg class="chart" viewBox="0 0 {0} {1}" preserveAspectRatio="none" role="img" aria-label="{2}">{3}'
        '<line x1="0" y1="{4}" x2="{0}" y2="{4}" class="axis"/></svg>'
    ).format(BAR_WIDTH, BAR_HEIGHT + 1, title, Markup("").join(groups), BAR_HEIGHT)


@dataclass(frozen=True, slots=True)
class Box:
    """One box of a graph."""

    key: str
    text: str
    kind: str = ""  # a CSS class box-KIND
    href: str | None = None


def graph(columns: Sequence[Sequence[Box]], arrows: Sequence[tuple[str, str]], title: str) -> Markup:
    """Boxes in columns, and arrows between them by key."""
    widths = [max((len(short(box.text, 34)) for box in column), default=4) * CHARACTER + 22 for column in columns]
    rows = max((len(column) for column in columns), default=0)
    places: dict[str, tuple[float, float, float]] = {}  # key -> left, middle, right
    shapes: list[Markup] = []
    left = 1.0
    for column, width in zip(columns, widths, strict=True):
        offset = (rows - len(column)) * ROW / 2
        for i, box in enumerate(column):
            top = offset + i * ROW + 1
            places[box.key] = (left, top + BOX_HEIGHT / 2, left + width)
            shapes.append(_box(box, left, top, width))
        left += width + COLUMN_GAP
    lines = [
        _arrow(*places[start][1:], *places[end][:2])
        for start, end in dict.fromkeys(arrows)
        if start in places and end in places
    ]
    width, height = max(10.0, left - COLUMN_GAP + 1), max(10.0, rows * ROW - (ROW - BOX_HEIGHT) + 2)
    return Markup(
        '<svg class="graph" viewBox="0 0 {0:.0f} {1:.0f}" width="{0:.0f}" height="{1:.0f}" role="figure"'
        ' aria-label="{2}">{3}{4}</svg>'
    ).format(width, height, visible(title), Markup("").join(lines), Markup("").join(shapes))


def _arrow(y1: float, x1: float, x2: float, y2: float) -> Markup:
    bend = max(20.0, (x2 - x1) / 2)
    return Markup(
        '<path d="M{:.1f} {:.1f} C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}" class="arrow"/>'
        '<path d="M{:.1f} {:.1f} l-7 -4 v8 z" class="head"/>'
    ).format(x1, y1, x1 + bend, y1, x2 - bend, y2, x2 - 5, y2, x2, y2)


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
