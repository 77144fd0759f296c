"""The log: structlog on standard error, JSON or console, one line per event and attempt; never payloads or secrets."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from typing import Literal, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger

from gateway.config.runtime import masked

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def given_request_id(header: str | None) -> str | None:
    """What a proxy gave as X-Request-Id, which ties log lines together, where it is a plain word; else None."""
    return header if header is not None and _REQUEST_ID.fullmatch(header) else None


class Output:
    """A stream that never fails whoever writes: what nobody can take (a full disk, a reader that is gone) is dropped. A
    gateway that delivers and says nothing is worth more than one that does neither.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, or drops."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Passes on, or drops."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def _without_secrets(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: masked(value) for name, value in event.items()}


def configure(level: str = "info", form: Literal["auto", "console", "json"] = "auto") -> FilteringBoundLogger:
    """Sets the process's log up and returns it. `auto`: console on a terminal, JSON elsewhere."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Output(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    logger: FilteringBoundLogger = structlog.get_logger().bind()  # not the proxy, which builds itself anew at each call
    return logger
