"""The command line: one small file per command."""

from gateway.cli import (
    actions,
    backfill,
    check,
    db,
    deliveries,
    dev,
    doctor,
    endpoints,
    events,
    explain,
    init,
    schema,
    send,
    serve,
    types,
)
from gateway.cli.app import app, main

__all__ = [
    "actions",
    "app",
    "backfill",
    "check",
    "db",
    "deliveries",
    "dev",
    "doctor",
    "endpoints",
    "events",
    "explain",
    "init",
    "main",
    "schema",
    "send",
    "serve",
    "types",
]
