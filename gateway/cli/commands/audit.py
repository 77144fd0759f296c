"""gateway audit: whether the rows that a route keeps are still what Stripe says; and puts right what is not."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.courses import accounts_with_key, check_connected, per_second, route_named, time_bounds, whose
from gateway.cli.main import BadUsage, app, load_config, options, with_store
from gateway.cli.output import bars, clean, fail, print_json, print_table

if TYPE_CHECKING:
    from gateway.config.load import Config
    from gateway.core.model import Route
    from gateway.intake.backfill.objects import Seedable
    from gateway.simulation.audit import AuditFinding, AuditResult
    from gateway.simulation.audit_pass import AuditOrder, Repair
    from gateway.store.protocol import Store

MOST_SHOWN = 50  # rows in a table; --json has all


@app.command()
def audit(
    route: Annotated[str, typer.Argument(help="The route whose rows are compared.")],
    sample: Annotated[str, typer.Option(help="How many of the objects, chosen by chance.")] = "100%",
    since: Annotated[str, typer.Option(help="2020-01-01, or 30d: objects created since then.")] = "1970-01-01",
    until: Annotated[str | None, typer.Option(help="The same for the end. Default: now.")] = None,
    rate: Annotated[str, typer.Option(help="Requests to Stripe; at most half of what the account may.")] = "20/s",
    account: Annotated[list[str] | None, typer.Option(help="Default: those of the route with an api_key.")] = None,
    connected_account: Annotated[
        list[str] | None, typer.Option(metavar="ACCT", help="Instead of the account's own objects; \"*\": every one's.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Have the gateway write the rows that differ.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Compare the rows that a route's db_upsert keeps with what Stripe says now and the templates would write.

    Says which differ, and why: missed (no event came of it, or not of its last change), late (a delivery waits or is
    dead), edited (it is not as the gateway wrote it). Ends with 1 where something differs and is not repaired, or
    where nothing could be compared.
    """
    from gateway.config.schema.types import parse_share

    if options.dev:
        raise BadUsage("audit: --dev has no Stripe to ask")
    try:
        share = parse_share(sample)
    except ValueError as error:
        raise BadUsage(f"--sample {sample!r}: {error}") from None
    config = load_config()
    armed, told = auditable(config, route)
    names = accounts_with_key(config, account, armed.accounts or config.accounts)
    check_connected(armed, connected_account)
    command = _AuditCommand(config, armed, told, names, tuple(connected_account or ()), per_second(rate),
                       time_bounds(since, until), share, repair)  # fmt: skip
    results = with_store(command.run)
    if as_json:
        print_json([each.as_json(route) for each in results])
    else:
        for each in results:
            _print(each)
    if any(each.is_wrong for each in results):
        raise typer.Exit(1)


def auditable(config: Config, name: str) -> tuple[Route, Seedable]:
    """The route, and what of its types lists objects. Raises BadUsage, Exit where it keeps nothing to compare."""
    from gateway.intake.backfill.objects import seedable
    from gateway.simulation.audit import kept_by

    route = route_named(config, name)
    if not kept_by(config, route):
        raise fail(f"route {name} keeps no rows that could be compared: none of its actions is db_upsert")
    told = seedable(route.events, takes_changes=True)
    if not told.kinds:
        lines = "\n".join(f"  {event_type}: {why}" for event_type, why in told.untold.items())
        raise fail(f"Stripe lists no objects of route {name}:\n{lines}")
    return route, told


@dataclass(frozen=True, slots=True)
class _Audited:
    """What came of one account."""

    order: AuditOrder
    result: AuditResult
    repair: Repair | None

    @property
    def is_wrong(self) -> bool:
        """Whether anything is left that differs, or nothing could be compared."""
        if self.result.unknown and not self.result.rows:
            return True
        findings = len(self.result.findings)
        return findings > (self.repair.put_in + self.repair.on_their_way if self.repair is not None else 0)

    def as_json(self, route: str) -> dict[str, Any]:
        """For `--json`."""
        result = self.result
        return {
            "route": route,
            "account": self.order.account.name,
            "connected_account": self.order.connected_account,
            "objects": result.objects,
            "sampled": result.sampled,
            "rows": result.rows,
            "not_owed": result.not_owed,
            "unknown": result.unknown,
            "not_compared": result.left_out,
            "differences": [finding.as_json() for finding in result.findings],
            "repaired": None if self.repair is None else self.repair.put_in,
        }


@dataclass(frozen=True, slots=True)
class _AuditCommand:
    """A command line that has been understood."""

    config: Config
    route: Route
    told: Seedable
    accounts: Sequence[str]
    connected_accounts: Sequence[str]
    rate: float  # requests a second
    bounds: tuple[int, int]
    share: float
    repairs: bool

    async def run(self, store: Store) -> list[_Audited]:
        """What came of each account. Raises AuditFailed, StripeApiError, StoreError."""
        from gateway.intake.backfill.importer import connected_to
        from gateway.intake.backfill.objects import paced
        from gateway.simulation.audit_pass import AuditOrder
        from gateway.stripe.connections import StripeApis

        settings, done = self.config.settings, list[_Audited]()
        owners = {name: paced(self.config.accounts[name], self.rate) for name in self.accounts}
        config = replace(self.config, accounts={**self.config.accounts, **owners})
        apis = StripeApis()
        apis.take(owners.values(), settings.stripe.api_base, settings.stripe.timeout)
        try:
            for owner in owners.values():
                async with apis.of(owner) as api:
                    for of in await connected_to(api, self.connected_accounts):
                        salt = secrets.token_hex(4)
                        order = AuditOrder(self.route, self.told.kinds, owner, of, *self.bounds, self.share, salt)
                        done.append(await self._of(order, config, store, apis))
        finally:
            await apis.close()
        return done

    async def _of(self, order: AuditOrder, config: Config, store: Store, apis: Any) -> _Audited:
        from datetime import UTC, datetime

        from gateway.cli.inbox import this_person
        from gateway.simulation.audit_pass import audit_route
        from gateway.simulation.audit_pass import repair as put_right
        from gateway.telemetry import logging as logs

        log = logs.configure("warning", config.settings.log.format)
        with bars("objects", transient=True) as show:
            result = await audit_route(
                config,
                order,
                store,
                apis,
                log,
                on_progress=lambda seen: show("objects", seen.objects, seen.objects),
                for_repair=self.repairs,
            )
        if not (self.repairs and result.findings):
            return _Audited(order, result, None)
        target = f"{self.route.name} of {order.account.name}"
        await store.record(this_person().entry("route.repair", target, len(result.findings)))
        findings = result.findings
        return _Audited(order, result, await put_right(config, self.route, findings, store, lambda: datetime.now(UTC)))


def _print(audited: _Audited) -> None:
    result, order = audited.result, audited.order
    of = whose(order.account.name, order.connected_account)
    for finding in result.findings[:MOST_SHOWN]:
        print(clean(_line(finding)))
    if len(result.findings) > MOST_SHOWN:
        print(f"and {len(result.findings) - MOST_SHOWN:,} more: --json lists them all")
    rows: list[list[object]] = [[why, count] for why, count in _by_reason(result.findings).items()]
    if rows:
        print_table(["why", "rows"], rows)
    for action, columns in result.left_out.items():
        if columns:
            named = ", ".join(f"{action}.{each}" for each in columns)
            print(clean(f"not compared, as they hang on the event: {named}"))
    for reason, count in result.unknown.most_common():
        print(clean(f"{count:,} not compared: {reason}"))
    print(clean(f"{of}: {result.objects:,} objects, {result.rows:,} rows compared, {len(result.findings):,} differ"))
    if audited.repair is not None:
        _print_repair(audited.repair)


def _print_repair(done: Repair) -> None:
    print(f"{done.put_in:,} are put into the inbox to be written anew: the running gateway does it")
    if done.on_their_way:
        print(f"{done.on_their_way:,} are left: a delivery of them is still to run, or an event of them has come since")
    if done.impossible:
        why = "their action needs others that do more than write rows, or nothing is written now (disabled, dry run)"
        print(f"{done.impossible:,} are left: {why}")


def _by_reason(findings: Sequence[AuditFinding]) -> Counter[str]:
    return Counter(finding.why for finding in findings)


def _line(finding: AuditFinding) -> str:
    key = ", ".join(f"{column}={value}" for column, value in finding.key.items())
    if finding.row is None:
        what = "there is no such row"
    else:
        pairs = ((column, value, finding.row.get(column)) for column, value in finding.wanted.items())
        what = "; ".join(f"{column} is {row!r}, and would be {wanted!r}" for column, wanted, row in pairs)
    where = f"{finding.event.object_id} {finding.action}: {finding.table} {key}"
    return f"{where}: {what} ({finding.why}: {finding.detail})"
