"""Pure: the part of a configuration that a scope sees, and what of it is its alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.config.load import Config
from gateway.core.model import Route, Scope, route_status_name
from gateway.core.routing import RouteTable


@dataclass(frozen=True, slots=True)
class OwnPart:
    """See `own_part`."""

    config: Config  # with the routes, accounts and connections that the scope sees
    table: RouteTable  # of these routes
    whole_routes: frozenset[str]  # of these, the routes whose deliveries are all of the scope
    whole_connections: frozenset[str]  # the connections that no other routes go by

    @property
    def changeable(self) -> frozenset[str]:
        """Names, as a store has them, of all whose pause stops nobody else's deliveries."""
        return self.whole_connections | {route_status_name(route) for route in self.whole_routes}

    def mixes_accounts(self, route: str) -> bool:
        """Whether a route's digests may bring events that the scope does not see."""
        return route not in self.whole_routes


def own_part(config: Config, scope: Scope) -> OwnPart:
    """What a scope sees of a configuration. A route is seen where it can owe a delivery of the scope, an account where
    a seen route can take its events, a connection where a seen route goes by it.
    """
    routes = tuple(route for route in config.routes if _is_seen(route, scope))
    whole = frozenset(route.name for route in routes if _is_whole(route, scope, config))
    serving = {name for route in routes for name in route.accounts or config.accounts}
    used = _connections(routes)
    shared = _connections(route for route in config.routes if route.name not in whole)
    narrowed = replace(
        config,
        routes=routes,
        accounts={
            name: account
            for name, account in config.accounts.items()
            if (name in scope.accounts if scope.accounts else name in serving)
        },
        connections={name: settings for name, settings in config.connections.items() if name in used},
    )
    # What is hidden from everybody is hidden here too: computed of the narrowed parts it would be less.
    vars(narrowed).update(
        hidden=config.hidden, masker=config.masker, references=config.references, redactions=config.redactions
    )
    return OwnPart(narrowed, RouteTable(routes), whole, frozenset(used - shared))


def _is_seen(route: Route, scope: Scope) -> bool:
    if scope.routes and route.name not in scope.routes:
        return False
    return not scope.accounts or route.accounts is None or not route.accounts.isdisjoint(scope.accounts)


def _is_whole(route: Route, scope: Scope, config: Config) -> bool:
    return not scope.accounts or set(route.accounts or config.event_accounts) <= set(scope.accounts)


def _connections(routes: Iterable[Route]) -> set[str]:
    return {action.connection for route in routes for action in route.actions if action.connection is not None}
