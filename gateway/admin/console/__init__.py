"""The console's pages: plain links and forms that work without a script; htmx makes some of them live."""

from __future__ import annotations

from gateway.admin.auth import Role
from gateway.admin.console import (
    accounts,
    approvals,
    chart_page,
    config,
    connections,
    dead_letters,
    deliveries,
    event,
    events,
    jobs,
    outbox,
    overview,
    playground,
    rejected,
    search,
)
from gateway.admin.console.render import static_file
from gateway.admin.request import Entry

V, O = Role.VIEWER, Role.OPERATOR  # noqa: E741 - the table reads better so

ENTRIES = (
    Entry("GET", "/static/{name}", static_file, Role.NOBODY),
    Entry("GET", "/", overview.show, V),
    Entry("GET", "/search", search.show, V),
    Entry("GET", "/events", events.listed, V),
    Entry("GET", "/live/events", events.live, V),
    Entry("GET", "/events/replay", events.confirm_many, O),
    Entry("POST", "/events/replay", events.replay_many, O),
    Entry("GET", "/events/{id}", event.show, V),
    Entry("GET", "/events/{id}/raw", event.raw, V),
    Entry("POST", "/events/{id}/replay", event.replay, O),
    Entry("GET", "/dead-letters", dead_letters.listed, V),
    Entry("GET", "/deliveries", deliveries.listed, V),
    Entry("GET", "/deliveries/many", deliveries.confirm_many, O),
    Entry("POST", "/deliveries/many", deliveries.change_many, O),
    Entry("GET", "/deliveries/{id}", deliveries.show, V),
    Entry("GET", "/deliveries/{id}/mail", deliveries.mail, V),
    Entry("POST", "/deliveries/{id}/retry", deliveries.retry, O),
    Entry("POST", "/deliveries/{id}/cancel", deliveries.cancel, O),
    Entry("POST", "/deliveries/{id}/{answer:approve|refuse}", deliveries.answer, O),
    Entry("GET", "/approve/{token}", approvals.ask, Role.NOBODY),
    Entry("POST", "/approve/{token}", approvals.answer, Role.NOBODY),
    Entry("GET", "/accounts", accounts.listed, V),
    Entry("GET", "/charts", chart_page.show, V),
    Entry("GET", "/connections", connections.listed, V),
    Entry("POST", "/connections/{name}/pause", connections.pause, O),
    Entry("POST", "/connections/{name}/resume", connections.resume, O),
    Entry("GET", "/routes", connections.routes_listed, V),
    Entry("POST", "/routes/{name}/pause", connections.pause_route, O),
    Entry("POST", "/routes/{name}/resume", connections.resume_route, O),
    Entry("GET", "/rejected", rejected.listed, V),
    Entry("POST", "/rejected/verify", rejected.verify, O),
    Entry("GET", "/rejected/{id}", rejected.show, V),
    Entry("GET", "/jobs", jobs.listed, V),
    Entry("GET", "/jobs/{id}", jobs.show, V),
    Entry("POST", "/jobs/{id}/{what:pause|resume|stop}", jobs.change, O),
    Entry("GET", "/playground", playground.show, V),
    Entry("POST", "/playground", playground.run, V),
    Entry("GET", "/playground/fields", playground.fields, V),
    Entry("GET", "/config", config.show, V),
    Entry("GET", "/audit", config.audit, V),
)
OUTBOX = (
    Entry("GET", "/outbox", outbox.listed, V),
    Entry("POST", "/outbox/send", outbox.send, O),
    Entry("GET", "/outbox/{number:[0-9]+}", outbox.show, V),
    Entry("GET", "/outbox/{number:[0-9]+}/html", outbox.html, V),
)


def entries(*, with_outbox: bool) -> tuple[Entry, ...]:
    """Every page there is."""
    return (*ENTRIES, *OUTBOX) if with_outbox else ENTRIES
