"""What libraries load where it happens to be installed, and a gateway that serves has no use for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, cast


@contextlib.contextmanager
def hidden(*names: str) -> Iterator[None]:
    """What is imported meanwhile finds these as little as where they are not installed. Those that are loaded already
    stay, and who imports one afterwards gets it. https://docs.python.org/3/reference/import.html#the-module-cache
    """
    modules = cast("dict[str, Any]", sys.modules)
    mine = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(mine))
    try:
        yield
    finally:
        for name in mine:
            modules.pop(name, None)
