"""From what was measured to what is printed: percentiles, ratios, tables."""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def percentile(values: Sequence[float], share: float) -> float:
    """The value that such a share of the values do not pass; not a number where there are none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else math.nan


def median_ratio(rounds: Sequence[Mapping[str, Mapping[str, float]]], ours: str, peer: str, figure: str) -> float:
    """The median over rounds of ours / peer."""
    return statistics.median(figures[ours][figure] / figures[peer][figure] for figures in rounds)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def kept(results: Path | None, measured: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is measured now, each told on stderr and added to the file; before it what the file held already, so that
    rounds can be run one at a time, with pauses.
    """
    results_so_far = (
        [json.loads(line) for line in results.read_text().splitlines()] if results and results.exists() else []
    )
    for result in measured:
        line = json.dumps(result)
        print(line, file=sys.stderr, flush=True)
        if results is not None:
            with results.open("a") as file:
                file.write(line + "\n")
        results_so_far.append(result)
    return results_so_far
