"""gateway db backup and restore: the inbox in a file of its own, and back."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.commands.db import db
from gateway.cli.main import BadUsage, named_store
from gateway.cli.options import Json
from gateway.cli.output import bars, clean, fail, print_json

if TYPE_CHECKING:
    from gateway.store.postgres.connection import Address


def pg_dump(address: Address) -> str:
    """The command that backs this store up; it asks for a password, or takes it from PGPASSWORD or ~/.pgpass."""
    words = ["pg_dump", "--format=custom", f"--schema={address.schema}", "--file=gateway.dump", address.for_libpq]
    return shlex.join(words)


def pg_restore(address: Address) -> str:
    """The command that brings such a backup into an empty database."""
    return shlex.join(["pg_restore", "--exit-on-error", f"--dbname={address.for_libpq}", "gateway.dump"])


@db.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where to, such as backup/gateway.db.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace a file that is there already.")] = False,
    as_json: Json = False,
) -> None:
    """Back up a SQLite inbox to a file, while gateways work on it. For PostgreSQL it says which command does it."""
    from gateway.store.backup import back_up
    from gateway.store.postgres.store import PostgresStore
    from gateway.store.sqlite.store import SqliteStore

    store = named_store()
    if isinstance(store, PostgresStore):
        raise fail(
            "nothing was backed up: this inbox is in PostgreSQL, whose own program does it while gateways work:\n\n"
            f"    {pg_dump(store.address)}\n\n"
            "and brings it back into an empty database, before gateways start there:\n\n"
            f"    {pg_restore(store.address)}"
        )
    assert isinstance(store, SqliteStore)
    with bars("pages", transient=True) as told:
        backup = back_up(store.path, file, partial(told, "pages"), replace=replace)
    if as_json:
        print_json(
            {
                "file": str(backup.path),
                "schema": backup.schema,
                "events": backup.events,
                "deliveries": backup.deliveries,
                "size_bytes": backup.size_bytes,
            }
        )
        return
    print(
        f"{clean(backup.path)}: {backup.events:,} events, {backup.deliveries:,} deliveries, schema {backup.schema}, "
        f"{backup.size_bytes / 1024 / 1024:,.1f} MiB, checked"
    )


@db.command()
def restore(file: Annotated[Path, typer.Argument(help="What `gateway db backup` wrote.")]) -> None:
    """Put a backup in the SQLite inbox's place, while no gateway runs on it; what was there is put aside."""
    from gateway.store.backup import restore as put_back
    from gateway.store.sqlite.store import SqliteStore

    store = named_store()
    if not isinstance(store, SqliteStore):
        raise BadUsage(
            "db restore: store.url is no SQLite file; pg_restore brings PostgreSQL's back (`db backup` says how)"
        )
    with store.alone():
        restored, aside = put_back(file, store.path)
    print(f"{clean(store.path)}: {restored.events:,} events, {restored.deliveries:,} deliveries")
    if aside is not None:
        print(f"What was there is in {clean(aside)}: delete it once you miss nothing.")
    print("Start the gateway. Events that came since the backup: `gateway backfill` asks Stripe for them.")
