"""What is known and ends a sequence without being a finding. Whoever mends one takes its line out."""

from __future__ import annotations

import re
from collections.abc import Sequence

AFTER_A_CLOCK_WAS_PUT_BACK = re.compile(
    "mark of|note n|digest|purged: |(next attempt|made|finished) of|events: |lease|bucket|brings|attempts of"
)
"""The stores take for now what lies more than a minute ahead, when they meet it; the model does not say when."""

KNOWN = {
    "not in order of lanes and due times": "PostgreSQL gives those with keys before the others, whatever is due first",
}


def is_known(complaint: str, steps: Sequence[str]) -> bool:
    """Whether a sequence of these steps may end so."""
    if any(step.startswith("the clock is set by -") for step in steps) and AFTER_A_CLOCK_WAS_PUT_BACK.search(complaint):
        return True
    return any(re.search(pattern, complaint) for pattern in KNOWN)
