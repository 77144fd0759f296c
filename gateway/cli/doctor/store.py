"""Whether the inbox can be opened and written, how it stands, and whether there is room for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from gateway.config.load import Config
from gateway.core.errors import StoreError, StoreKeyMissing, StoreMissing, StoreOutdated, UsageError
from gateway.plugin import Finding
from gateway.store import open_store
from gateway.store.answers import Status
from gateway.store.encoding.store import used_keys
from gateway.store.encryption.keyring import Keyring
from gateway.store.migrations.runner import HEAD
from gateway.store.protocol import Store

_GIB = 1024**3
_TOO_LITTLE_BYTES = _GIB // 10
_LITTLE_BYTES = _GIB
_FIX = "look at store.url, whether it can be reached, and the rights of its user"


async def inbox_findings(config: Config) -> AsyncIterator[Finding]:
    """Looks without making anything."""
    url = config.settings.store.address()
    try:
        store = open_store(url, config.folder)
    except UsageError as error:
        yield Finding.bad(str(error), "see docs/configuration.md, store")
        return
    scheme, _, rest = url.partition("://")
    file = config.folder / rest.removeprefix("/") if scheme == "sqlite" else None
    try:
        if file is None:
            from gateway.store.postgres.connection import Address, Server

            await Server(Address.parse(url)).refuse_transaction_pooling()
        await store.attach()
        keyring = Keyring(config.settings.store.keys())
        keyring.note_used(await used_keys(store))
        keyring.refuse_unopened()
        for finding in await _opened(store):
            yield finding
    except StoreMissing:
        yield _made_file(file) if file is not None else await _made_schema(url)
    except StoreKeyMissing as error:
        yield Finding.bad(str(error), "a gateway does not start so")
    except StoreOutdated as error:
        yield Finding.bad(str(error), "bring the store and this program to one version")
        return
    except (StoreError, UsageError) as error:
        yield Finding.bad(str(error), _FIX)
        return
    finally:
        await store.close()
    if file is not None:
        yield _room(_nearest_folder(file))


async def _opened(store: Store) -> list[Finding]:
    """What `gateway db status` says, and that the store can commit. Raises StoreError."""
    await store.ping()
    counts, status = await store.counts(), await store.status()
    return [*_standing(status, counts["events"], counts.get("dead", 0))]


def _standing(status: Status, events: int, dead: int) -> Iterator[Finding]:
    oldest = status.oldest_pending_at
    pending = f"the oldest pending delivery of {oldest:%Y-%m-%d %H:%M:%S} UTC" if oldest else "nothing pending"
    size = f"{status.size_bytes / 1024**2:,.1f} MiB"
    yield Finding.good(
        f"{status.url} opens and can commit: schema {status.schema}, {events:,} events, {dead:,} dead letters, "
        f"{pending}, {size}"
    )
    if status.schema > HEAD:
        text = f"a newer gateway brought it to schema {status.schema}; this one knows {HEAD}, and can work on it"
        yield Finding.note(text, "install the newer one here too")


# -- an inbox that is not there yet ---------------------------------------------------------------------------


def _made_file(file: Path) -> Finding:
    folder = _nearest_folder(file)
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding.bad(
            f"cannot be made: {folder} is not writable", "give the gateway's user the right to write there"
        )
    return Finding.good(f"there is no {file.name} yet; `gateway serve` makes it")


async def _made_schema(url: str) -> Finding:
    """Whether the first gateway may make the schema and its tables. Raises StoreError, UsageError."""
    from gateway.store.postgres.connection import Address, PgConnection, Server

    address = Address.parse(url)
    link = PgConnection(Server(address))
    try:
        is_there, may = (await link.fetch(_MAY_MAKE, address.schema))[0]
    finally:
        await link.close()
    if may:
        return Finding.good(f"there is no inbox at {address.shown} yet; `gateway serve` makes it")
    thing = f"schema {address.schema}" if is_there else "database"
    text = f"cannot be made: the user of store.url has no right to create in the {thing} of {address.shown}"
    return Finding.bad(text, f"GRANT CREATE ON {'SCHEMA' if is_there else 'DATABASE'} ... TO its user")


_MAY_MAKE = """
SELECT found.oid IS NOT NULL,
    CASE WHEN found.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
    ELSE has_schema_privilege(found.oid, 'CREATE') END
FROM (SELECT to_regnamespace($1)::oid AS oid) AS found
"""


# -- the disk -------------------------------------------------------------------------------------------------


def _nearest_folder(file: Path) -> Path:
    return next(folder for folder in file.parents if folder.is_dir())


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / _GIB:.1f} GiB are free on its disk"
    if free < _TOO_LITTLE_BYTES:
        return Finding.bad(text, "make room: events that cannot be stored are answered 503")
    return Finding.note(text, "make room soon") if free < _LITTLE_BYTES else Finding.good(text)
