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
from gateway.admin.request import Entry, Reach

V, O = Role.VIEWER, Role.OPERATOR  # noqa: E741 - the table reads better so
OWN, ACCOUNTS, FREE = Reach.OWN, Reach.OWN_ACCOUNTS, Reach.NOTHING_OF_ANYBODY

ENTRIES = (
    Entry("GET", "/static/{name}", static_file, Role.NOBODY, FREE),
    Entry("GET", "/", overview.show, V, OWN),
    Entry("GET", "/search", search.show, V, OWN),
    Entry("GET", "/events", events.listed, V, OWN),
    Entry("GET", "/live/events", events.live, V, OWN),
    Entry("GET", "/events/replay", events.confirm_many, O, OWN),
    Entry("POST", "/events/replay", events.replay_many, O, OWN),
    Entry("GET", "/events/{id}", event.show, V, OWN),
    Entry("GET", "/events/{id}/raw", event.raw, V, OWN),
    Entry("POST", "/events/{id}/replay", event.replay, O, OWN),
    Entry("GET", "/dead-letters", dead_letters.listed, V, OWN),
    Entry("GET", "/deliveries", deliveries.listed, V, OWN),
    Entry("GET", "/deliveries/many", deliveries.confirm_many, O, OWN),
    Entry("POST", "/deliveries/many", deliveries.change_many, O, OWN),
    Entry("GET", "/deliveries/{id}", deliveries.show, V, OWN),
    Entry("GET", "/deliveries/{id}/mail", deliveries.mail, V, OWN),
    Entry("POST", "/deliveries/{id}/retry", deliveries.retry, O, OWN),
    Entry("POST", "/deliveries/{id}/cancel", deliveries.cancel, O, OWN),
    Entry("POST", "/deliveries/{id}/{answer:approve|refuse}", deliveries.answer, O, OWN),
    Entry("GET", "/approve/{token}", approvals.ask, Role.NOBODY, FREE),
    Entry("POST", "/approve/{token}", approvals.answer, Role.NOBODY, FREE),
    Entry("GET", "/accounts", accounts.listed, V, ACCOUNTS),
    Entry("GET", "/charts", chart_page.show, V, OWN),
    Entry("GET", "/connections", connections.listed, V, OWN),
    Entry("POST", "/connections/{name}/pause", connections.pause, O, OWN),
    Entry("POST", "/connections/{name}/resume", connections.resume, O, OWN),
    Entry("GET", "/routes", connections.routes_listed, V, OWN),
    Entry("POST", "/routes/{name}/pause", connections.pause_route, O, OWN),
    Entry("POST", "/routes/{name}/resume", connections.resume_route, O, OWN),
    Entry("GET", "/rejected", rejected.listed, V, ACCOUNTS),
    Entry("POST", "/rejected/verify", rejected.verify, O, ACCOUNTS),
    Entry("GET", "/rejected/{id}", rejected.show, V, ACCOUNTS),
    Entry("GET", "/jobs", jobs.listed, V, OWN),
    Entry("GET", "/jobs/{id}", jobs.show, V, OWN),
    Entry("POST", "/jobs/{id}/{what:pause|resume|stop}", jobs.change, O, OWN),
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
