"""Pure: what a gateway is as processes, and where they listen."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.diagnostics.problem import Problem
from gateway.config.schema.model import GatewaySettings
from gateway.config.schema.types import split_listen
from gateway.config.yaml.document import Source
from gateway.core.errors import Where

ONE_PROCESS = "a SQLite inbox is of one process: several would wait for each other at every commit"
DEV_FOLDER = "sqlite:///data/dev/"  # of `--dev`, which runs one process, whatever is asked for
WAY_OUT = "1, or PostgreSQL in store.url: gateway db copy takes the inbox along"


def check_processes(settings: GatewaySettings | None, source: Source) -> Iterator[Problem]:
    """The problems of `server` and `admin` as a whole."""
    if settings is None:
        return
    server, admin = settings.server, settings.admin
    if server.listen == admin.listen and split_listen(admin.listen)[1] != 0:  # 0 is whichever is free
        where = _where(source, "admin", "listen")
        message = "is the same address as server.listen: the console is never on the public listener"
        yield Problem(where, message, code="same-listener")
    if server.workers > 1 and is_of_one_process(settings):
        yield Problem(_where(source, "server", "workers"), f"{server.workers}: {ONE_PROCESS}", WAY_OUT, code="workers")


def is_of_one_process(settings: GatewaySettings) -> bool:
    """Whether the inbox is one that only one process may have."""
    url = settings.store.url.get_secret_value()
    return url.startswith("sqlite:") and not url.startswith(DEV_FOLDER)


def _where(source: Source, section: str, key: str) -> Where:
    return source.where((section, key))
