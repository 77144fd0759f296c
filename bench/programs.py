"""What a benchmark starts: programs on free ports, waited for and ended."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def program(
    command: Sequence[str], folder: Path, port: int, path: str = "/", end: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """A started program that answers at the port; ended on exit, by that signal."""
    log = folder / f"{Path(command[0]).name}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        wait_ready(process, port, path, log)
        yield process
    finally:
        process.send_signal(end)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_ready(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    """Returns once something answers. Raises RuntimeError where the program ends or is silent."""
    for _ in range(3000):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended: {log.read_text()[-2000:]}")
        with contextlib.suppress(OSError):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
        time.sleep(0.01)
    raise RuntimeError(f"{process.args!r} does not answer: {log.read_text()[-2000:]}")


def gateway_command(config: Path) -> list[str]:
    """What starts the gateway of this checkout."""
    return [sys.executable, "-m", "gateway", "--config", str(config), "serve"]
