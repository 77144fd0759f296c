"""The db_upsert action."""

from __future__ import annotations

from typing import ClassVar

from gateway.plugin import Action, Settings


class DbUpsertSettings(Settings):
    """To come."""


class DbUpsert(Action[DbUpsertSettings]):
    """To come."""

    name: ClassVar[str] = "db_upsert"
    Settings: ClassVar[type[Settings]] = DbUpsertSettings
