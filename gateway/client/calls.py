"""What can be asked of a gateway. Made from the API's document by `make generated`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from gateway.client import records, reports
from gateway.client.session import ApiSession, PageOf


class GatewayClient(ApiSession):
    """A gateway's API, as one token may. Each call raises ClientError."""

    async def show_overview(self, *, range: Literal["1h", "24h", "7d"] | None = None) -> reports.OverviewRecord:
        """How it goes."""
        return await self._ask(reports.OverviewRecord, "GET", "/overview", query={"range": range})

    async def search(self, *, q: str) -> records.SearchRecord:
        """Any id, e-mail address, amount or text."""
        return await self._ask(records.SearchRecord, "GET", "/search", query={"q": q})

    async def list_events(
        self,
        *,
        cursor: str | None = None,
        limit: int | None = None,
        oldest_first: bool | None = None,
        account: Sequence[str] | None = None,
        type: Sequence[str] | None = None,
        state: Sequence[Literal["routed", "unmatched", "ignored"]] | None = None,
        object: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        text: str | None = None,
        outcome: Literal["dead", "expired", "waiting", "succeeded", "skipped", "cancelled"] | None = None,
    ) -> PageOf[records.EventRecord]:
        """Events in order of arrival."""
        return await self._ask(
            PageOf[records.EventRecord],
            "GET",
            "/events",
            query={
                "cursor": cursor,
                "limit": limit,
                "oldest_first": oldest_first,
                "account": account,
                "type": type,
                "state": state,
                "object": object,
                "since": since,
                "until": until,
                "text": text,
                "outcome": outcome,
            },
        )

    async def show_event(self, id: str, *, account: str | None = None) -> records.EventWholeRecord:
        """One event and its deliveries."""
        return await self._ask(records.EventWholeRecord, "GET", "/events/{}", (id,), query={"account": account})

    async def replay_events(
        self,
        *,
        events: Sequence[records.EventNameRecord],
        routes: Sequence[str] | None = None,
        force: bool | None = None,
        dry_run: bool | None = None,
    ) -> records.ReplayedListRecord:
        """Replay events."""
        return await self._ask(
            records.ReplayedListRecord,
            "POST",
            "/events/replay",
            body={"events": events, "routes": routes, "force": force, "dry_run": dry_run},
        )

    async def list_deliveries(
        self,
        *,
        cursor: str | None = None,
        limit: int | None = None,
        oldest_first: bool | None = None,
        id: Sequence[str] | None = None,
        state: Sequence[
            Literal["blocked", "pending", "running", "succeeded", "skipped", "cancelled", "dead", "expired"]
        ]
        | None = None,
        route: Sequence[str] | None = None,
        action: Sequence[str] | None = None,
        account: Sequence[str] | None = None,
        connection: Sequence[str] | None = None,
        owner: Sequence[str] | None = None,
        event: Sequence[str] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        waiting: bool | None = None,
    ) -> PageOf[records.DeliveryRecord]:
        """Deliveries in order of arrival."""
        return await self._ask(
            PageOf[records.DeliveryRecord],
            "GET",
            "/deliveries",
            query={
                "cursor": cursor,
                "limit": limit,
                "oldest_first": oldest_first,
                "id": id,
                "state": state,
                "route": route,
                "action": action,
                "account": account,
                "connection": connection,
                "owner": owner,
                "event": event,
                "since": since,
                "until": until,
                "waiting": waiting,
            },
        )

    async def show_delivery(self, id: str) -> records.DeliveryWholeRecord:
        """One delivery and its attempts."""
        return await self._ask(records.DeliveryWholeRecord, "GET", "/deliveries/{}", (id,))

    async def retry_deliveries(self, *, ids: Sequence[str]) -> records.ResultsRecord:
        """Retry deliveries."""
        return await self._ask(records.ResultsRecord, "POST", "/deliveries/retry", body={"ids": ids})

    async def cancel_deliveries(self, *, ids: Sequence[str]) -> records.ResultsRecord:
        """Cancel deliveries."""
        return await self._ask(records.ResultsRecord, "POST", "/deliveries/cancel", body={"ids": ids})

    async def retry_delivery(self, id: str) -> records.DeliveryWholeRecord:
        """Retry one delivery."""
        return await self._ask(records.DeliveryWholeRecord, "POST", "/deliveries/{}/retry", (id,))

    async def cancel_delivery(self, id: str) -> records.DeliveryWholeRecord:
        """Cancel one delivery."""
        return await self._ask(records.DeliveryWholeRecord, "POST", "/deliveries/{}/cancel", (id,))

    async def approve_delivery(self, id: str) -> records.DeliveryWholeRecord:
        """Say yes to one that waits for it."""
        return await self._ask(records.DeliveryWholeRecord, "POST", "/deliveries/{}/approve", (id,))

    async def refuse_delivery(self, id: str) -> records.DeliveryWholeRecord:
        """Say no: it is cancelled."""
        return await self._ask(records.DeliveryWholeRecord, "POST", "/deliveries/{}/refuse", (id,))

    async def forget_customer(
        self, *, customer: str, account: str | None = None, cancel: bool | None = None, dry_run: bool | None = None
    ) -> records.JobAnswerRecord:
        """Erase what is kept of a customer."""
        return await self._ask(
            records.JobAnswerRecord,
            "POST",
            "/customers/forget",
            body={"customer": customer, "account": account, "cancel": cancel, "dry_run": dry_run},
        )

    async def list_jobs(self) -> PageOf[records.JobRecord]:
        """Changes to many."""
        return await self._ask(PageOf[records.JobRecord], "GET", "/jobs")

    async def start_job(
        self,
        *,
        what: Literal["retry", "cancel", "replay"],
        deliveries: records.DeliveriesWhereRecord | None = None,
        events: records.EventsWhereRecord | None = None,
        routes: Sequence[str] | None = None,
        dry_run: bool | None = None,
    ) -> records.JobAnswerRecord:
        """Retry, cancel or replay all that a filter finds."""
        return await self._ask(
            records.JobAnswerRecord,
            "POST",
            "/jobs",
            body={"what": what, "deliveries": deliveries, "events": events, "routes": routes, "dry_run": dry_run},
        )

    async def show_job(self, id: str) -> records.JobRecord:
        """One change to many."""
        return await self._ask(records.JobRecord, "GET", "/jobs/{}", (id,))

    async def pause_job(self, id: str) -> records.JobRecord:
        """Pause it."""
        return await self._ask(records.JobRecord, "POST", "/jobs/{}/pause", (id,))

    async def resume_job(self, id: str) -> records.JobRecord:
        """Go on."""
        return await self._ask(records.JobRecord, "POST", "/jobs/{}/resume", (id,))

    async def stop_job(self, id: str) -> records.JobRecord:
        """End it where it is."""
        return await self._ask(records.JobRecord, "POST", "/jobs/{}/stop", (id,))

    async def show_config(self) -> reports.ConfigRecord:
        """The configuration in force, secrets masked."""
        return await self._ask(reports.ConfigRecord, "GET", "/config")

    async def list_accounts(self) -> PageOf[reports.AccountReportRecord]:
        """What each account sends."""
        return await self._ask(PageOf[reports.AccountReportRecord], "GET", "/accounts")

    async def list_connections(self) -> PageOf[reports.ConnectionRecord]:
        """How each connection does."""
        return await self._ask(PageOf[reports.ConnectionRecord], "GET", "/connections")

    async def pause_connection(self, name: str, *, reason: str | None = None) -> reports.StandingRecord:
        """Pause one."""
        return await self._ask(
            reports.StandingRecord, "POST", "/connections/{}/pause", (name,), body={"reason": reason}
        )

    async def resume_connection(self, name: str) -> reports.StandingRecord:
        """Resume one."""
        return await self._ask(reports.StandingRecord, "POST", "/connections/{}/resume", (name,))

    async def list_routes(self) -> PageOf[reports.RouteRecord]:
        """What each route is for, and how it does."""
        return await self._ask(PageOf[reports.RouteRecord], "GET", "/routes")

    async def pause_route(self, name: str, *, reason: str | None = None) -> reports.RouteRecord:
        """Pause one."""
        return await self._ask(reports.RouteRecord, "POST", "/routes/{}/pause", (name,), body={"reason": reason})

    async def resume_route(self, name: str) -> reports.RouteRecord:
        """Resume one."""
        return await self._ask(reports.RouteRecord, "POST", "/routes/{}/resume", (name,))

    async def list_rejected(
        self,
        *,
        id: Sequence[str] | None = None,
        account: Sequence[str] | None = None,
        reason: Sequence[str] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int | None = None,
    ) -> PageOf[reports.RejectedRecord]:
        """Requests that were refused."""
        return await self._ask(
            PageOf[reports.RejectedRecord],
            "GET",
            "/rejected",
            query={"id": id, "account": account, "reason": reason, "since": since, "until": until, "limit": limit},
        )

    async def show_rejected(self, id: str) -> reports.RejectedWholeRecord:
        """One of them."""
        return await self._ask(reports.RejectedWholeRecord, "GET", "/rejected/{}", (id,))

    async def verify_rejected(
        self,
        *,
        id: Sequence[str] | None = None,
        account: Sequence[str] | None = None,
        reason: Sequence[str] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int | None = None,
        dry_run: bool | None = None,
    ) -> PageOf[reports.VerifiedRecord]:
        """Judge them again."""
        return await self._ask(
            PageOf[reports.VerifiedRecord],
            "POST",
            "/rejected/verify",
            body={
                "id": id,
                "account": account,
                "reason": reason,
                "since": since,
                "until": until,
                "limit": limit,
                "dry_run": dry_run,
            },
        )

    async def list_audit(self, *, cursor: str | None = None, limit: int | None = None) -> PageOf[reports.AuditRecord]:
        """Who asked for what."""
        return await self._ask(PageOf[reports.AuditRecord], "GET", "/audit", query={"cursor": cursor, "limit": limit})

    async def playground(
        self, *, event: str, account: str | None = None, draft: str | None = None
    ) -> reports.PlaygroundResultRecord:
        """What would happen to an event."""
        return await self._ask(
            reports.PlaygroundResultRecord,
            "POST",
            "/playground",
            body={"event": event, "account": account, "draft": draft},
        )
