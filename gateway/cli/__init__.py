"""The command line: one small file per command, imported when it is used."""

from gateway.cli.main import app, main

__all__ = ["app", "main"]
