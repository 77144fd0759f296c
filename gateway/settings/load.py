"""gateway.yaml -> the configuration that everything runs on, or every problem at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.model import Account, Route
from gateway.plugin import Action, ConnectionSettings
from gateway.settings.schema import GatewaySettings


@dataclass(frozen=True, slots=True)
class Config:
    """A loaded, checked and compiled gateway.yaml."""

    path: Path
    folder: Path  # where relative paths start
    settings: GatewaySettings
    accounts: Mapping[str, Account]
    connections: Mapping[str, ConnectionSettings]
    routes: tuple[Route, ...]
    actions: Mapping[str, Action[Any]]  # by the name after `uses:`
    files: frozenset[Path]  # all that was read
    version: str  # changes whenever anything that was read changes


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Loads everything; contacts nothing. Raises ConfigError with all problems."""
    raise NotImplementedError
