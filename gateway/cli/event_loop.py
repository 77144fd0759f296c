"""The loop that a gateway runs on."""

from __future__ import annotations

import asyncio
import contextlib
import resource

WANTED_DESCRIPTORS = 65_536


def run_loop(main: object) -> None:
    """Runs a coroutine on uvloop where it is to be had, with as many file descriptors as are to be had."""
    raise_descriptor_limit()
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)  # type: ignore[arg-type]
    else:
        uvloop.run(main)  # type: ignore[arg-type]


def raise_descriptor_limit() -> None:
    """Raises this process's soft limit of file descriptors, which many systems set to 1,024, towards its hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(WANTED_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # where the system does not let, it stays as it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
