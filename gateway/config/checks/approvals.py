"""`approve`: what nobody could answer, and whether `approval.url` can be made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.config.diagnostics.problem import Problem
from gateway.config.schema.model import GatewaySettings
from gateway.config.schema.routes import RouteSettings
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.model import Route
from gateway.plugin.types import duration_text

CANNOT = ("viewer", "nobody", "")
LEAST_TOKEN = 32  # characters of admin.token: in hex 128 bits
LEAST_DIFFERENT = 8  # characters: 32 random ones in hex have more


def check_link_token(routes: Sequence[Route], settings: GatewaySettings | None, source: Source) -> Iterator[Problem]:
    """An `admin.token` that could be guessed from a link that is signed with it."""
    if settings is None or settings.admin.url is None or not (token := settings.admin.token.get_secret_value()):
        return
    if not any(action.approve is not None for route in routes for action in route.actions):
        return
    if len(token) < LEAST_TOKEN or len(set(token)) < LEAST_DIFFERENT:
        message = "whoever has a link of `approve` can try tokens on it, and this one is short"
        hint = (
            f"at least {LEAST_TOKEN} random characters: openssl rand -hex 32; a new token ends the links that are out"
        )
        yield Problem(source.where(("admin", "token")), message, hint, "warning", "approve")


def check_approve(at: Path_, route: RouteSettings, source: Source) -> Iterator[Problem]:
    """Actions that nobody may approve, or whose yes would come too late."""
    for name, action in route.actions.items():
        if action.approve is None:
            continue
        place = (*at, "actions", name)
        for i, who in enumerate(action.approve.by):
            if who.strip().lower() in CANNOT:
                message = f"{who.strip() or 'an empty name'} may approve nothing"
                hint = "say operator (whoever has the operator's token), or names that people sign in with"
                yield Problem(source.where((*place, "approve", "by", i)), message, hint, code="approve")
        if action.expires is not None and action.expires <= action.approve.within:
            message = f"expires after {duration_text(action.expires)}, while a yes may still come"
            yield Problem(source.where((*place, "expires")), message, "give it more time", code="expires")
        beside = None
        if route.digest is not None:
            beside = "digest: its events are of one message"
        elif route.debounce is not None and not action.needs:
            beside = "debounce: each event of a burst would be asked for; let it need an action that is not"
        if beside is not None:
            message = f"cannot stand beside {beside}"
            yield Problem(source.where_key((*place, "approve")), message, code="approve")


def approval_of(route: RouteSettings, settings: GatewaySettings | None) -> str | None:
    """Why templates of a route have no `approval.url`; empty: they have one. None where that is not known."""
    asking = [name for name, action in route.actions.items() if action.approve is not None]
    if len(asking) != 1:
        return (
            "no action of this route says `approve`" if not asking else f"{' and '.join(asking)} ask: which is meant?"
        )
    if settings is None:
        return None
    if settings.admin.url is None:
        return "admin.url does not say where people reach the console"
    if not settings.admin.token.get_secret_value():
        return "links are signed with admin.token, which is empty"
    return ""
