"""What the simulator has found and is not mended yet. Whoever mends one takes its line out."""

from __future__ import annotations

from collections.abc import Sequence

KNOWN = {
    "digest: gathers what else comes": "a digest waits for times that lie in the future (case C14)",
}


def is_known(findings: Sequence[str]) -> bool:
    """Whether a scenario may end so."""
    return any(known in finding for finding in findings for known in KNOWN)
