"""The command line: one small file per command."""

from gateway.cli import actions, check, deliveries, dev, diff, events, explain, init, reload, schema, send, serve
from gateway.cli.app import app, main

__all__ = [
    "actions",
    "app",
    "check",
    "deliveries",
    "dev",
    "diff",
    "events",
    "explain",
    "init",
    "main",
    "reload",
    "schema",
    "send",
    "serve",
]
