"""What the model has found and is not mended yet: a sequence may end so. Whoever mends one takes its line out."""

from __future__ import annotations

import re

KNOWN = {
    "surrogates|circular|Exceeds the limit|keys must be": "an outcome that cannot be kept (case C7)",
    "index row size": "a key of 6,000 characters on PostgreSQL (C12)",
    "though it is its turn|does not see work|does not give what is due|claimed out of its turn": "turns on SQLite (C6)",
    "not in order of lanes and due times": "PostgreSQL gives those with keys before the others, whatever is due first",
    "mark of|note n|a digest (is to wait|has waited)|purged: ": "times that lie in the future (C14)",
}


def is_known(complaint: str) -> bool:
    """Whether a sequence may end so."""
    return any(re.search(pattern, complaint) for pattern in KNOWN)
