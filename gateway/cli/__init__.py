"""The command line: one small file per command."""

from gateway.cli import (
    actions,
    check,
    db,
    deliveries,
    dev,
    diff,
    doctor,
    events,
    explain,
    init,
    reload,
    schema,
    send,
    serve,
    test,
    types,
)
from gateway.cli.app import app, main

__all__ = [
    "actions",
    "app",
    "check",
    "db",
    "deliveries",
    "dev",
    "diff",
    "doctor",
    "events",
    "explain",
    "init",
    "main",
    "reload",
    "schema",
    "send",
    "serve",
    "test",
    "types",
]
