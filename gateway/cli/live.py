"""What goes on being shown until Ctrl-C: a list drawn again and again, and lines as they come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

LOOK_SECONDS = 2.0  # between two looks
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"

Watch = Annotated[bool, typer.Option("--watch", help="Go on showing it, every 2 s, until Ctrl-C.")]


def repeatedly(show: Callable[[], None], *, watch: bool, sleep: Callable[[float], None] = time.sleep) -> None:
    """Shows it once; or again and again, on a terminal in the place of what it showed before."""
    while True:
        if watch and sys.stdout.isatty():
            print(_CLEAR, end="")
        show()
        sys.stdout.flush()
        if not watch:
            return
        sleep(LOOK_SECONDS)
