"""The store for many gateways on one PostgreSQL: group commits, claims under leases, work announced by NOTIFY."""

from __future__ import annotations

from gateway.store.postgres.maintenance import PostgresMaintenance
from gateway.store.postgres.people import PostgresPeople
from gateway.store.postgres.queue import PostgresQueue
from gateway.store.postgres.reports import PostgresReports
from gateway.store.postgres.sweep import PostgresSweep


class PostgresStore(PostgresQueue, PostgresMaintenance, PostgresSweep, PostgresPeople, PostgresReports):
    """See `gateway.store.protocol.Store` for what each method promises."""
