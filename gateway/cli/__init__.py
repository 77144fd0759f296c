"""The command line: one small file per command."""

from gateway.cli import actions, check, deliveries, dev, events, explain, init, schema, send, serve, test, types
from gateway.cli.app import app, main

__all__ = [
    "actions",
    "app",
    "check",
    "deliveries",
    "dev",
    "events",
    "explain",
    "init",
    "main",
    "schema",
    "send",
    "serve",
    "test",
    "types",
]
