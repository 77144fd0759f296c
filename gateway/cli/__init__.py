"""The command line: one small file per command."""

from gateway.cli import actions, check, connections, deliveries, dev, events, explain, init, schema, send, serve
from gateway.cli.app import app, main

__all__ = [
    "actions",
    "app",
    "check",
    "connections",
    "deliveries",
    "dev",
    "events",
    "explain",
    "init",
    "main",
    "schema",
    "send",
    "serve",
]
