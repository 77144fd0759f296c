"""Where stores and servers of tests keep files: in memory, where there is room; what they test is not the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

_MEMORY = Path("/dev/shm")
_LEAST_FREE_BYTES = 4 * 1024**3  # each worker has a PostgreSQL, whose log alone may grow to 1 GiB


def in_memory() -> Path | None:
    """A folder in memory, or None, by which `tempfile` takes its own. On a disk PostgreSQL takes half a second of
    processor to copy and to drop a database of a test; here, a twentieth of that.
    """
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _LEAST_FREE_BYTES
    return _MEMORY if has_room else None
