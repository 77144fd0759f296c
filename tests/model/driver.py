"""Takes a sequence of steps in every world; of one that ends in a disagreement tells the story, made shorter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tests.model.places import Places
from tests.model.steps import Step, steps

SEQUENCE = 50  # steps
IsKnown = Callable[[str, Sequence[str]], bool]


@dataclass(frozen=True)
class Finding:
    """A sequence that ends in a disagreement."""

    label: str
    sequence: Sequence[Step]  # the last one is where it shows
    story: Sequence[str]

    @property
    def steps(self) -> list[str]:
        """In words."""
        return [step.told for step in self.sequence]

    @property
    def complaint(self) -> str:
        """What they disagree about."""
        return self.story[-1].rsplit(" -> ", 1)[1]


def take(
    places: Places, seed: int, count: int = SEQUENCE, is_known: IsKnown = lambda complaint, steps: False
) -> Finding | None:
    """The sequence of that seed, in every world; what comes of it, made as short as can be, or None: all agree, as far
    as they go without ending in what is known.
    """
    sequence = steps(Random(seed), count)
    places.compresses = seed % 2 == 1
    for label in places.labels:
        finding = places.run(_try(places, label, sequence))
        if finding is not None and not is_known(finding.complaint, finding.steps):
            return places.run(_shorter(places, finding, is_known))  # type: ignore[no-any-return]
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


async def _shorter(places: Places, finding: Finding, is_known: IsKnown) -> Finding:
    """Leaves out steps, many at a time and then each, as long as it still ends in a disagreement that is not known."""
    size = len(finding.sequence) // 2
    while size:
        place = 0
        while place < len(finding.sequence):
            rest = [*finding.sequence[:place], *finding.sequence[place + size :]]
            shorter = await _try(places, finding.label, rest)
            if shorter is None or is_known(shorter.complaint, shorter.steps):
                place += size
            else:
                finding, place = shorter, 0 if size == 1 else place
        size = size // 2 if size > 1 else 0
    return finding
