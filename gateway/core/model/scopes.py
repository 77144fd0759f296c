"""What a token of a team is for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of a gateway that a token sees, and may change where it may act: deliveries of these routes for these
    accounts. Empty fields do not narrow; one of them is filled.
    """

    name: str  # the token's, in gateway.yaml
    accounts: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    may_act: bool = False
