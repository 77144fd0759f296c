"""File descriptors: the limit is raised as far as the system lets, and connections leave some for everything else."""

from __future__ import annotations

import contextlib
import resource

WANTED = 65_536
RESERVED = 256  # for the inbox, destinations, and files that are read
FEWEST = 64  # connections, however low the limit is
MOST_HANDSHAKES = 1000


def raise_limit() -> None:
    """Raises this process's soft limit, which many systems set to 1,024, towards its hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # where the system does not let, it stays as it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def room_for(most: int) -> int:
    """How many of so many connections may be open at once under the limit in force."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else max(FEWEST, min(most, soft - RESERVED))


def handshakes_at_once() -> int:
    """How many TLS handshakes may be under way: they are no connections yet, and take of what is reserved."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_HANDSHAKES if soft == resource.RLIM_INFINITY else max(16, min(MOST_HANDSHAKES, soft // 8))
