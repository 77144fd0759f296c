"""The typed model of gateway.yaml. Descriptions in it become the editor's hover texts and the documentation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gateway.config.schema.accounts import AccountSettings, StripeSettings
from gateway.config.schema.alerts import AlertSettings
from gateway.config.schema.routes import Defaults, RouteSettings
from gateway.config.schema.server import AdminSettings, LogSettings, ReloadSettings, ServerSettings, TracingSettings
from gateway.config.schema.store import RejectedSettings, StoreSettings
from gateway.config.schema.types import Section
from gateway.plugin import Name


class GatewaySettings(Section):
    """What the gateway does: where it listens, whom it trusts, and what is to happen for which events."""

    # `connections` and each action's `with` are checked against the types that plugins bring

    version: Literal[1] = Field(description="The version of this file's format.", examples=[1])
    include: list[str] = Field(
        default_factory=list,
        description="Further files or globs: accounts, connections, routes, vars.",
        examples=[["config/routes/*.yaml"]],
    )
    plugins: list[str] = Field(
        default_factory=list, description="Folders with action plugins, *.py.", examples=[["config/plugins"]]
    )
    vars: dict[str, Any] = Field(
        default_factory=dict, description="Constants for templates: vars.NAME.", examples=[{"big_order": 100000}]
    )
    log: LogSettings = Field(default_factory=LogSettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    admin: AdminSettings = Field(default_factory=AdminSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    reload: ReloadSettings = Field(default_factory=ReloadSettings)
    rejected: RejectedSettings = Field(default_factory=RejectedSettings)
    tracing: TracingSettings | None = Field(None, description="Left out: nothing is traced.")
    defaults: Defaults = Field(default_factory=Defaults)
    stripe: StripeSettings = Field(default_factory=StripeSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    accounts: dict[Name, AccountSettings] = Field(
        min_length=1, description="Stripe accounts, by names of your own. Stripe posts to /webhooks/NAME."
    )
    connections: dict[Name, dict[str, Any]] = Field(
        default_factory=dict, description="Outside systems, by names of your own: address, credentials, limits."
    )
    routes: dict[Name, RouteSettings] = Field(
        default_factory=dict, description="What is to happen for which events, by names of your own."
    )
