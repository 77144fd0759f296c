"""The table of docs/actions.md: destination, fault, what happens; read for the tests that hold its rows."""

from __future__ import annotations

import math
import re

from gateway.testing import TrialResult
from tests.acceptance.harness import ROOT

_ROW = re.compile(r"^\| (\w+) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def fault_rows(destination: str) -> dict[str, str]:
    """What happens, by fault."""
    page = (ROOT / "docs" / "actions.md").read_text().partition("## What becomes of a fault")[2]
    return {fault: happens for name, fault, happens in _ROW.findall(page) if name == destination}


def happens(ended: TrialResult) -> str:
    """What happened, in the table's words."""
    if ended.state == "succeeded":
        return "succeeded"
    words = "retried" if ended.state == "pending" else ended.state
    if ended.pause_seconds is not None:
        return f"{words}, paused " + ("until resumed" if ended.pause_seconds == math.inf else "as long as asked")
    return f"{words}, not blamed" if ended.state == "pending" and not ended.is_connection_failure else words
