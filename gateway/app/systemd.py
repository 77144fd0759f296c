"""What a service manager gives and is told: sockets that stay open while the gateway restarts, and how it is.

Both are plain protocols, so that no library is needed: sd_listen_fds(3) and sd_notify(3). Others than systemd speak
them too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass

from gateway.core.errors import UsageError
from gateway.core.tasks import background

PUBLIC, ADMIN = "public", "admin"  # FileDescriptorName= of the socket units
TELL_SECONDS = 1.0
_FIRST = 3  # the first descriptor that is handed over, always


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Listening sockets that the service manager keeps open. None: the gateway opens its own."""

    public: socket.socket | None = None
    admin: socket.socket | None = None


def handed_over(environ: MutableMapping[str, str]) -> HandedOver:
    """The sockets that were handed to this process; taken out of the environment, so that no child takes them too.
    Without names the first is `public`, a second `admin`. Raises UsageError.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    named = environ.pop("LISTEN_FDNAMES", "")
    if pid != str(os.getpid()) or not count.isdecimal() or count == "0":
        return HandedOver()
    names = named.split(":") if named else []
    if set(names) <= {"unknown", ""}:  # nobody named them
        names = [PUBLIC, ADMIN][: int(count)]
    if len(names) != int(count) or set(names) - {PUBLIC, ADMIN} or len(set(names)) != len(names):
        raise UsageError(
            f"socket activation: {count} socket(s) named {named or 'nothing'} were handed over; expected one with "
            f"FileDescriptorName={PUBLIC} and at most one with FileDescriptorName={ADMIN}"
        )
    return HandedOver(**{name: _listening(name, _FIRST + number) for number, name in enumerate(names)})


def _listening(name: str, descriptor: int) -> socket.socket:
    try:
        listening = socket.socket(fileno=descriptor)
    except OSError as error:
        raise UsageError(
            f"socket activation: {name} (descriptor {descriptor}) is no socket: {error.strerror}"
        ) from None
    is_tcp = listening.family in (socket.AF_INET, socket.AF_INET6) and listening.type == socket.SOCK_STREAM
    if not is_tcp or not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listening.detach()
        raise UsageError(
            f"socket activation: {name} is no listening TCP socket; the socket unit needs ListenStream= with a port, "
            "and Accept=no"
        )
    os.set_inheritable(descriptor, False)
    listening.setblocking(False)
    return listening


class Manager:
    """The service manager, told by datagrams; nobody where `NOTIFY_SOCKET` is not set."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        for_whom = environ.pop("WATCHDOG_PID", str(os.getpid()))
        micros = environ.pop("WATCHDOG_USEC", "")
        is_watched = bool(self._address) and micros.isdecimal() and for_whom == str(os.getpid())
        self.watchdog_seconds = int(micros) / 1e6 if is_watched else 0.0  # 0: it does not watch

    def ready(self, status: str) -> None:
        """The gateway answers; also after a reload."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The gateway drains."""
        self._tell("STOPPING=1", "STATUS=draining")

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Says twice in each watchdog interval that the event loop turns, while the block runs."""
        if not self.watchdog_seconds:
            yield
            return
        async with background(self._beat, "gateway-watchdog"):
            yield

    async def _beat(self) -> None:
        while True:
            self._tell("WATCHDOG=1", wait_seconds=0)  # another comes soon
            await asyncio.sleep(self.watchdog_seconds / 2)

    def _tell(self, *lines: str, wait_seconds: float | None = None) -> None:
        """Fire and forget: a manager that does not listen is no reason to stop. Its queue holds few words (ten on
        Linux); while it is full, this waits for so long.
        """
        if not self._address:
            return
        # @ stands for the zero byte of an abstract socket
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(TELL_SECONDS if wait_seconds is None else wait_seconds)
            datagrams.sendto("\n".join(lines).encode(), address)
