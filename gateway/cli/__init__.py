"""The command line: one small file per command."""

from gateway.cli import (
    actions,
    check,
    connections,
    db,
    deliveries,
    dev,
    doctor,
    events,
    explain,
    init,
    rejected,
    schema,
    send,
    serve,
    stripe_ips,
    types,
)
from gateway.cli.app import app, main

__all__ = [
    "actions",
    "app",
    "check",
    "connections",
    "db",
    "deliveries",
    "dev",
    "doctor",
    "events",
    "explain",
    "init",
    "main",
    "rejected",
    "schema",
    "send",
    "serve",
    "stripe_ips",
    "types",
]
