"""The store for one gateway on one machine: a SQLite file, written in group commits, locked against a second one."""

from __future__ import annotations

from gateway.store.sqlite.intake import SqliteIntake
from gateway.store.sqlite.maintenance import SqliteMaintenance
from gateway.store.sqlite.people import SqlitePeople
from gateway.store.sqlite.queue import SqliteQueue
from gateway.store.sqlite.reports import SqliteReports
from gateway.store.sqlite.sweep import SqliteSweep


class SqliteStore(SqliteIntake, SqliteQueue, SqliteMaintenance, SqliteSweep, SqlitePeople, SqliteReports):
    """See `gateway.store.protocol.Store` for what each method promises."""
