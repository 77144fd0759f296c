"""The log of several processes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.acceptance.harness import ROOT
from tests.waiting import HANG_SECONDS

LINES, LENGTH = 500, 5000  # characters: more than are written at once
WRITER = f"""\
import sys
from gateway.telemetry import logging
from gateway.telemetry.logging import Output
logging.TURN_SECONDS = Output.turn_seconds = 60.0  # on a busy machine too
Output.turns = int(sys.argv[1])
output = Output(sys.stderr)
print(flush=True)
sys.stdin.read()  # until all are there
for _ in range({LINES}):
    output.write(sys.argv[2] * {LENGTH} + "\\n")
    output.flush()
"""


def test_lines_of_several_processes_stay_whole(tmp_path: Path) -> None:
    with (tmp_path / "log.txt").open("ab") as log, tempfile.TemporaryFile() as turns, contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, str(turns.fileno()), letter],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, pass_fds=[turns.fileno()],
                )
            )
            for letter in "ab"
        ]  # fmt: skip
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.read(1) == b"\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.close()
        assert [writer.wait(HANG_SECONDS) for writer in writers] == [0, 0]
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert sorted(lines) == ["a" * LENGTH] * LINES + ["b" * LENGTH] * LINES
