"""How `gateway reload` and `gateway diff` reach the running gateway: a Unix socket, a word and a line of JSON.

A socket rather than a signal, because it brings the outcome back, and works with every store. The running gateway does
the reading itself: it alone has its environment. Only the gateway's own user (and root) may connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from gateway.config.diagnostics.render import report, rows
from gateway.config.reload import Reloader
from gateway.config.runtime import Reload, RuntimeConfig
from gateway.core.errors import GatewayError

LINE_SECONDS = 5.0
ASK_SECONDS = 120.0  # a configuration of a thousand routes takes seconds on a busy machine


class NobodyAnswersError(GatewayError):
    """No gateway listens at the socket."""


class Control(Protocol):
    """What is asked at the socket."""

    async def reload(self, asked_by: str) -> dict[str, Any]: ...

    async def preview(self, named: str) -> dict[str, Any]: ...


@contextlib.asynccontextmanager
async def controlled(path: Path, control: Control, log: FilteringBoundLogger) -> AsyncIterator[None]:
    """Answers at the socket meanwhile. Where it cannot, the gateway runs without, and the log says so."""
    server = None
    try:
        listening = await asyncio.to_thread(_listen, path)
    except OSError as error:
        log.warning(
            "control.unavailable",
            socket=str(path),
            error=error.strerror or str(error),
            hint="`gateway reload` cannot reach this gateway; SIGHUP and changed files still reload it",
        )
    else:
        server = await asyncio.start_unix_server(lambda r, w: _answer(control, r, w), sock=listening)
    try:
        yield
    finally:
        if server is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)  # before it closes, so that it cannot be the next gateway's already
            server.close()


class ReloaderControl:
    """A gateway of one process: its reloader answers."""

    def __init__(self, reloader: Reloader) -> None:
        self._reloader = reloader

    async def reload(self, asked_by: str) -> dict[str, Any]:
        """Reloads, and says what came of it."""
        was = self._reloader.live.config.version
        return self._json(await self._reloader.reload(asked_by), was)

    async def preview(self, named: str) -> dict[str, Any]:
        """What a reload would do, or, where a file is named, what it would do were that gateway.yaml."""
        was = self._reloader.live.config.version
        return self._json(await self._reloader.preview("gateway diff", Path(named) if named else None), was, named)

    def _json(self, result: Reload, was: str, named: str = "") -> dict[str, Any]:
        return as_json(result, self._reloader.live, was, named or str(self._reloader.live.config.path))


async def _answer(control: Control, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(LINE_SECONDS):
            what, _, named = (await reader.readline()).strip().partition(b" ")
        if what == b"reload":
            answer = await control.reload("gateway reload")
        elif what == b"diff":
            answer = await control.preview(os.fsdecode(named))
        else:
            return
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
    except (OSError, ValueError, TimeoutError):
        pass  # who asked is gone, or is no command of ours
    finally:
        writer.close()


def as_json(result: Reload, live: RuntimeConfig, was: str, file: str) -> dict[str, Any]:
    """A reload, of a file, as `--json` shows it."""
    return {
        "outcome": result.outcome.value,
        "version": result.version,
        "was": was,
        "changes": [{**asdict(change), "text": str(change)} for change in result.changes],
        "orphans": [{**asdict(orphan), "text": str(orphan)} for orphan in result.orphans],
        "needs_restart": list(live.needs_restart()),  # what the process runs without, of the configuration in force
        "problems": rows(result.problems),
        "report": report(result.problems, file) if result.problems else "",  # the same, to be read
    }


def ask(path: Path, what: str) -> dict[str, Any]:
    """Asks the gateway that listens at `path`. Raises NobodyAnswersError."""
    hint = "is it running, on this machine, with the same reload.socket?"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ASK_SECONDS)
        try:
            with _short(path) as address:
                connection.connect(address)
            connection.sendall(os.fsencode(what) + b"\n")
            with connection.makefile("rb") as answer:
                line = answer.readline()
        except OSError as error:
            why = error.strerror or "it takes too long"
            raise NobodyAnswersError(f"no gateway answers at {path} ({why}): {hint}") from None
    if not line:
        raise NobodyAnswersError(f"the gateway at {path} stopped before it answered")
    reply: dict[str, Any] = json.loads(line)
    return reply


def _listen(path: Path) -> socket.socket:
    """A listening socket that only this user may use. One that a killed gateway left behind is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as address:
            if _is_left_behind(address):
                path.unlink(missing_ok=True)
            listening.bind(address)
        path.chmod(0o600)
        listening.listen(16)
    except BaseException:
        listening.close()
        raise
    return listening


def _is_left_behind(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The address of a socket. The system takes about 100 bytes; a longer path is led through its open folder."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
