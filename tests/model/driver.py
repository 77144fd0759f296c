"""Takes a sequence of steps in every world, tells the story of one that ends in a disagreement, and makes it shorter."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from tests.model.steps import Step, steps
from tests.model.whole_world import WholeWorld

SEQUENCE = 50  # steps


class Places(Protocol):
    """Where stores are made."""

    labels: Sequence[str]

    def run(self, work: Awaitable[Any]) -> Any:
        """On the loop that the stores live on."""

    async def fresh(self, label: str) -> WholeWorld:
        """A store of that kind, empty, with its model."""


@dataclass(frozen=True)
class Finding:
    """A sequence that ends in a disagreement."""

    label: str
    sequence: Sequence[Step]  # the last one is where it shows
    story: Sequence[str]


def take(places: Places, seed: int, count: int = SEQUENCE) -> Finding | None:
    """The sequence of that seed, in every world; what comes of it, made as short as can be, or None: all agree."""
    sequence = steps(Random(seed), count)
    for label in places.labels:
        finding = places.run(_try(places, label, sequence))
        if finding is not None:
            return places.run(_shorter(places, finding))  # type: ignore[no-any-return]
    return None


async def _try(places: Places, label: str, sequence: Sequence[Step]) -> Finding | None:
    world = await places.fresh(label)
    story: list[str] = []
    for number, step in enumerate(sequence, 1):
        world.clock.pass_ms(1)
        try:
            said = await step.do(world)
            await world.compare()
        except Exception as complaint:
            kind = "" if isinstance(complaint, AssertionError) else f"{type(complaint).__name__}: "
            return Finding(label, sequence[:number], [*story, f"{number:3}. {step.told} -> {kind}{complaint}"])
        story.append(f"{number:3}. {step.told} -> {said}")
    return None


async def _shorter(places: Places, finding: Finding) -> Finding:
    """Leaves out steps, many at a time and then each, as long as it still ends in a disagreement."""
    size = len(finding.sequence) // 2
    while size:
        place = 0
        while place < len(finding.sequence):
            rest = [*finding.sequence[:place], *finding.sequence[place + size :]]
            shorter = await _try(places, finding.label, rest)
            if shorter is None:
                place += size
            else:
                finding, place = shorter, 0 if size == 1 else place
        size = size // 2 if size > 1 else 0
    return finding
