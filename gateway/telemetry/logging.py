"""The log: structlog on standard error, JSON or console, one line per event and attempt; never payloads or secrets."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import select
import stat
import sys
import time
from collections.abc import Iterator
from typing import ClassVar, Literal, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger

from gateway.config.runtime import masked, may_hide

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


PART = select.PIPE_BUF // 4  # characters: a pipe that is ready takes as many bytes, of which a character has at most 4
TURN_SECONDS = 0.1  # for a line of another process to end
_ALONE: contextlib.nullcontext[None] = contextlib.nullcontext()
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def given_request_id(header: str | None) -> str | None:
    """What a proxy gave as X-Request-Id, which ties log lines together, where it is a plain word; else None."""
    return header if header is not None and _REQUEST_ID.fullmatch(header) else None


class Output:
    """A stream that never fails and never holds up whoever writes: what nobody can take (a full disk, a reader that is
    gone, a pipe that nobody reads) is dropped and counted. A gateway that delivers and says nothing is worth more than
    one that does neither.
    """

    dropped: ClassVar[int] = 0  # lines, of the process
    turns: ClassVar[int | None] = None  # a descriptor to lock while a line is written, where processes share the log
    turn_seconds: ClassVar[float] = TURN_SECONDS  # waited for at most

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = ""
        self._is_torn = False  # the last line was cut: the next begins a new one
        self._poll: select.poll | None = None
        with contextlib.suppress(OSError, ValueError):  # it is no file: a test's
            descriptor = stream.fileno()
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._poll = select.poll()
                self._poll.register(descriptor, select.POLLOUT)

    def write(self, text: str) -> int:
        """Takes a part of a line."""
        self._line += text
        return len(text)

    def flush(self) -> None:
        """Passes what was written on, or drops it."""
        line, self._line = ("\n" if self._is_torn else "") + self._line, ""
        with _ALONE if Output.turns is None else _turn(Output.turns):
            try:
                for start in range(0, len(line), PART):
                    if self._poll is not None and not self._poll.poll(0):
                        raise BlockingIOError
                    self._stream.write(line[start : start + PART])
                    self._stream.flush()
                    self._is_torn = start + PART < len(line)
            except (OSError, ValueError):  # nobody reads it, or it is closed
                Output.dropped += 1


@contextlib.contextmanager
def _turn(descriptor: int) -> Iterator[None]:
    """Keeps the lines of other processes out of this one. Who waits in vain, because another stands still, writes all
    the same, and until it has had its turn again waits no more.
    """
    is_ours, end = _locked(descriptor), time.monotonic() + Output.turn_seconds
    while not is_ours and time.monotonic() < end:
        os.sched_yield()
        is_ours = _locked(descriptor)
    Output.turn_seconds = TURN_SECONDS if is_ours else 0.0
    yield
    if is_ours:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _without_secrets(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event if masked(event) is event else {name: masked(value) for name, value in event.items()}


_whole_line = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_rendered = structlog.processors.JSONRenderer(ensure_ascii=True)


def _plain(log: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """An event with what stands in its line for values that JSON has not."""
    try:
        plain: structlog.typing.EventDict = json.loads(_rendered(log, method, event))
    except (TypeError, ValueError, RecursionError):  # a key that JSON has not, or what holds itself
        plain = {name: value if isinstance(value, str) else repr(value) for name, value in event.items()}
    return plain


def _json_line(log: object, method: str, event: structlog.typing.EventDict) -> str | bytes:
    """A line without secrets. Nearly all hold none and are plain ASCII: then the JSON that is looked at is the line."""
    try:
        line = _whole_line(event)
    except (TypeError, ValueError, RecursionError):  # a value that JSON has not
        line = ""
    if line.isascii() and line.isprintable() and line and not may_hide(line):
        return line
    if not line:  # what stands in the line for such a value, which an action may give, is looked at too
        event = _plain(log, method, event)
    return _rendered(log, method, _without_secrets(log, method, event))


def _console_event(log: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """An event without secrets, also where the terminal would write what a value that JSON has not says of itself."""
    try:
        _whole_line(event)
    except (TypeError, ValueError, RecursionError):
        event = _plain(log, method, event)
    return _without_secrets(log, method, event)


def configure(level: str = "info", form: Literal["auto", "console", "json"] = "auto") -> FilteringBoundLogger:
    """Sets the process's log up and returns it. `auto`: console on a terminal, JSON elsewhere."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderers: list[structlog.typing.Processor] = [_json_line]
    if console:
        renderers = [_console_event, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Output(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    logging.lastResort = logging.StreamHandler(cast(TextIO, Output(sys.stderr)))  # what libraries say
    logging.lastResort.setLevel(logging.WARNING)
    logger: FilteringBoundLogger = structlog.get_logger().bind()  # not the proxy, which builds itself anew at each call
    return logger
