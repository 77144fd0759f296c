"""Line charts as SVG, legible on light and dark pages: one row of panels, and a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 380, 260  # of a panel, with its labels
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 34, 46  # around its plot
LEGEND = 28
STYLE = """
  .page { fill: #ffffff } .axis { stroke: #57606a } .grid { stroke: #d8dee4 } text { fill: #24292f }
  .line { fill: none; stroke-width: 2 } .dash { stroke-dasharray: 5 4; stroke-width: 1.2 }
  .s0 { stroke: #0969da } .s1 { stroke: #bc4c00 } .s2 { stroke: #1a7f37 } .s3 { stroke: #8250df } .dash { stroke: #6e7781 }
  .f0 { fill: #0969da } .f1 { fill: #bc4c00 } .f2 { fill: #1a7f37 } .f3 { fill: #8250df }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } .axis { stroke: #8b949e } .grid { stroke: #30363d } text { fill: #e6edf3 }
    .s0 { stroke: #58a6ff } .s1 { stroke: #f0883e } .s2 { stroke: #3fb950 } .s3 { stroke: #bc8cff } .dash { stroke: #8b949e }
    .f0 { fill: #58a6ff } .f1 { fill: #f0883e } .f2 { fill: #3fb950 } .f3 { fill: #bc8cff }
  }"""  # noqa: E501 - one colour a place


@dataclass(frozen=True, slots=True)
class Series:
    """One line. A guide is dashed, without points and not in the legend."""

    name: str
    points: Sequence[tuple[float, float]]
    is_guide: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """From the first tick to the last. On a logarithmic one a tick of 0 stands a step before the next."""

    label: str
    ticks: Sequence[float]
    is_log: bool = False

    def share(self, value: float) -> float:
        """Where the value lies: 0 at the first tick, 1 at the last."""
        first, last = self._scaled(self.ticks[0]), self._scaled(self.ticks[-1])
        return (self._scaled(value) - first) / (last - first)

    def _scaled(self, value: float) -> float:
        if not self.is_log:
            return value
        if value > 0:
            return math.log10(value)
        return math.log10(next(tick for tick in self.ticks if tick > 0)) - 1


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]


def chart(panels: Sequence[Panel]) -> str:
    """The SVG. Series of the same place in their panel have one colour; the legend names the first panel's."""
    width, height = WIDTH * len(panels), HEIGHT + LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="11" role="img">',
        f"<title>{escape('; '.join(panel.title for panel in panels))}</title>",
        f"<style>{STYLE}\n</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
    ]
    for place, panel in enumerate(panels):
        parts += [f'<g transform="translate({place * WIDTH} 0)">', *_panel(panel), "</g>"]
    x = float(LEFT)
    for place, series in enumerate(line for line in panels[0].series if not line.is_guide):
        y = HEIGHT + 10
        parts.append(f'<line class="line s{place}" x1="{x:g}" x2="{x + 22:g}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{x + 28:g}" y="{y + 4}">{escape(series.name)}</text>')
        x += 52 + 6.5 * len(series.name)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> list[str]:
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        share = min(1.0, max(0.0, panel.y.share(y)))
        return round(LEFT + wide * panel.x.share(x), 1), round(TOP + high * (1 - share), 1)

    left, bottom = LEFT, TOP + high
    parts = [f'<text x="{left}" y="20" font-size="13" font-weight="600">{escape(panel.title)}</text>']
    for tick in panel.y.ticks:
        y = at(panel.x.ticks[0], tick)[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{left + wide}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{_number(tick)}</text>')
    for tick in panel.x.ticks:
        x = at(tick, panel.y.ticks[0])[0]
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{_number(tick)}</text>')
    parts.append(f'<line class="axis" x1="{left}" x2="{left + wide}" y1="{bottom}" y2="{bottom}"/>')
    middle = f'x="{left + wide / 2:g}" y="{bottom + 34}" text-anchor="middle"'
    parts.append(f"<text {middle}>{escape(panel.x.label)}</text>")
    turned = f'transform="translate(14 {TOP + high / 2:g}) rotate(-90)" text-anchor="middle"'
    parts.append(f"<text {turned}>{escape(panel.y.label)}</text>")
    colour = 0
    for series in panel.series:
        points = [at(x, y) for x, y in series.points if not math.isnan(y)]
        line = " ".join(f"{x:g},{y:g}" for x, y in points)
        if series.is_guide:
            parts.append(f'<polyline class="line dash" points="{line}"/>')
            continue
        parts.append(f'<polyline class="line s{colour}" points="{line}"/>')
        parts += [f'<circle class="f{colour}" cx="{x:g}" cy="{y:g}" r="2.6"/>' for x, y in points]
        colour += 1
    return parts


def _number(value: float) -> str:
    for size, mark in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{mark}"
    return f"{value:g}"
