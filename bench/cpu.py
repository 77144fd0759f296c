"""Processor use during a run: how much of one core each program took, with all that it started."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import psutil


class CpuUse:
    """Measures from its making. A program is given by its process id; this one is `generator`."""

    def __init__(self, programs: Mapping[str, int]) -> None:
        self._programs = dict(programs)
        self._start = time.perf_counter()
        self._before = self._seconds()

    def cores(self) -> dict[str, float]:
        """Cores that each took on average since, and `all`, which everything on the machine took together."""
        spent, after = time.perf_counter() - self._start, self._seconds()
        return {name: round((after[name] - self._before[name]) / spent, 4) for name in after}

    def _seconds(self) -> dict[str, float]:
        own, machine = os.times(), psutil.cpu_times()
        seconds = {name: processor_seconds(pid) for name, pid in self._programs.items()}
        seconds["generator"] = own.user + own.system
        seconds["all"] = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
        return seconds


def processor_seconds(pid: int) -> float:
    """Seconds that a program and all that it started have had on the processors so far."""
    root = psutil.Process(pid)
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # its own and that of children that have ended
        except psutil.NoSuchProcess:
            continue  # its parent has its time now
    return total
