"""What a worker of `gateway serve --workers N` inherits from its supervisor, and how it is told."""

from __future__ import annotations

import json
import os
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass, field

VARIABLE = "GATEWAY_INTERNAL_WORKER"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlace:
    """Of one worker. Sockets and files are told as numbers of descriptors."""

    number: int  # of the worker, from 1
    channel: int  # to the supervisor
    log_turns: int  # locked while a line of the log is written
    public: list[int]  # listening sockets
    admin: list[int]  # listening sockets
    keeps_waiting: bool  # another keeps the public sockets open when the gateway ends, and whoever waits there
    one_time_token: str | None = field(repr=False)

    def as_variable(self) -> str:
        """For the worker's environment."""
        return json.dumps(asdict(self))

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that is inherited."""
        return (self.channel, self.log_turns, *self.public, *self.admin)


def place_of(environ: MutableMapping[str, str]) -> WorkerPlace | None:
    """This process's, where it is a worker. Taken out of the environment, and kept from its own children."""
    text = environ.pop(VARIABLE, "")
    if not text:
        return None
    place = WorkerPlace(**json.loads(text))
    for descriptor in place.descriptors:
        os.set_inheritable(descriptor, False)
    return place
