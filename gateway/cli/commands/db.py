"""gateway db: the store itself: migrate, status, copy to PostgreSQL, encrypt, compact."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.main import BadUsage, app, named_keyring, named_store, run, store_address, with_store
from gateway.cli.options import Json
from gateway.cli.output import bars, clean, counting, print_json

if TYPE_CHECKING:
    from gateway.store.answers import Status
    from gateway.store.encoding.recode import Recoded, RecodeProgress
    from gateway.store.protocol import Store

db = typer.Typer(no_args_is_help=True, help="The store itself: migrate, status, copy to PostgreSQL, encrypt, compact.")
app.add_typer(db, name="db")


@db.command()
def migrate() -> None:
    """Bring the schema up to date. Gateways do it by themselves when they start; on PostgreSQL they may be running."""
    from gateway.store.migrations.runner import HEAD

    async def work() -> str | None:
        store = named_store()
        try:
            return await store.migrate()
        finally:
            await store.close()

    before = run(work)
    print(f"schema {HEAD}: nothing to do" if before == HEAD else f"schema {before or 'none'} -> {HEAD}")


@db.command()
def status(as_json: Json = False) -> None:
    """Show where the store is, its schema, how many deliveries are in each state, the oldest pending, and its size."""

    async def work(store: Store) -> tuple[Status, dict[str, int]]:
        return await store.status(), dict(await store.counts())

    status, counts = with_store(work)
    oldest = status.oldest_pending_at
    events = counts.pop("events")
    shown = {
        "url": status.url,
        "schema": status.schema,
        "events": events,
        "deliveries": dict(sorted(counts.items())),
        "oldest_pending_at": oldest.isoformat(timespec="milliseconds") if oldest else None,
        "size_bytes": status.size_bytes,
    }
    if as_json:
        print_json(shown)
        return
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items())) or "none"
    print(f"store           {clean(status.url)}")
    print(f"schema          {status.schema}")
    print(f"events          {events:,}")
    print(f"deliveries      {states}")
    print(f"oldest pending  {shown['oldest_pending_at'] or '-'}")
    print(f"size            {status.size_bytes / 1024 / 1024:,.1f} MiB")


@db.command()
def copy(
    to: Annotated[str, typer.Option(help="Where to: postgresql://user@host/database")],
    as_json: Json = False,
) -> None:
    """Copy a SQLite store to PostgreSQL, while no gateway runs on either. May be broken off and run again."""
    from gateway.store.copy import TABLES, copy_store
    from gateway.store.postgres.store import PostgresStore
    from gateway.store.sqlite.store import SqliteStore

    source = named_store()
    if not isinstance(source, SqliteStore):
        raise BadUsage("db copy: store.url is no SQLite file; only those are copied")
    if not to.startswith(("postgresql://", "postgres://")):
        raise BadUsage("db copy: --to takes postgresql://user@host/database")
    target = PostgresStore(to)
    with bars(*(table.name for table in TABLES)) as told:
        copied = run(lambda: copy_store(source, target, told))
    if as_json:
        print_json({"to": target.address.shown, **copied})
        return
    for table, count in copied.items():
        print(f"{table:11} {count:,} copied and counted")
    print(f"\nEverything is in {clean(target.address.shown)}. Now set store.url to it in every gateway's gateway.yaml,")
    print(f"start them, and put {clean(source.path)} aside: a gateway that is started on it would deliver again.")


@db.command()
def encrypt(as_json: Json = False) -> None:
    """Encrypt with the first key of store.encrypt what is stored in clear, or with an older key. Gateways may run."""
    from gateway.store.encoding.recode import seal_all

    keyring = named_keyring()
    if not keyring.ids:
        raise BadUsage("db encrypt: store.encrypt names no key to encrypt with")

    done = _recoded(lambda store, told: seal_all(store, keyring, told))
    if as_json:
        shown = {"events": done.events, "rejected": done.rejected, "encrypted": done.changed, "key": keyring.ids[0]}
        print_json(shown | {"damaged": done.damaged})
        _end_damaged(done)
        return
    print(
        f"{done.events:,} events and {done.rejected:,} rejected requests looked at, {done.changed:,} encrypted just now"
    )
    _end_damaged(done)
    print(f"Everything is encrypted with key {keyring.ids[0]}; other keys may be taken out of store.encrypt.")


@db.command()
def compact(as_json: Json = False) -> None:
    """Compress what was stored as it is, by version 0.1 or with `store.compress: false`. Gateways may run, but none of
    version 0.1. May be broken off and run again.
    """
    from gateway.store.encoding.recode import compact_all

    if not store_address().compresses:
        raise BadUsage("db compact: store.compress is false in gateway.yaml; take that out first")
    keyring = named_keyring()
    before = _size_bytes()
    done = _recoded(lambda store, told: compact_all(store, keyring, told))
    after = _size_bytes()
    if as_json:
        print_json(
            {
                "events": done.events,
                "rejected": done.rejected,
                "compressed": done.changed,
                "size_bytes_before": before,
                "size_bytes": after,
                "left_to_do": done.left_to_do,
                "damaged": done.damaged,
            }
        )
        _end_damaged(done)
        return
    print(
        f"{done.events:,} events and {done.rejected:,} rejected requests looked at, {done.changed:,} compressed just "
        f"now: {before / 1024 / 1024:,.1f} -> {after / 1024 / 1024:,.1f} MiB"
    )
    if done.left_to_do:
        print(done.left_to_do)
    _end_damaged(done)


def _end_damaged(done: Recoded) -> None:
    """Tells what could not be read and was left as it is, and ends so."""
    if done.damaged:
        for why in done.damaged:
            print(clean(why), file=sys.stderr)
        print(f"{len(done.damaged):,} of them cannot be read, and were left as they are.", file=sys.stderr)
        raise typer.Exit(1)


def _size_bytes() -> int:
    return with_store(lambda store: store.size_bytes())


def _recoded(sweep: Callable[[Store, RecodeProgress], Coroutine[Any, Any, Recoded]]) -> Recoded:
    """What a sweep through the inbox did, which is attached with nothing in front."""

    async def work() -> Recoded:
        store = named_store()
        await store.attach()
        try:
            with counting("events", (await store.counts())["events"]) as told:
                return await sweep(store, told)
        finally:
            await store.close()

    return run(work)
