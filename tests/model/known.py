"""What is known and ends a sequence without being a finding. Whoever mends one takes its line out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

KNOWN: Mapping[str, str] = {}
"""Patterns of complaints, and why each is known."""


def is_known(complaint: str, steps: Sequence[str]) -> bool:
    """Whether a sequence of these steps may end so."""
    return any(re.search(pattern, complaint) for pattern in KNOWN)
