"""The settings of the four types of connection: address, credentials, limits; a file a type."""

from __future__ import annotations

from gateway.plugin.connections.database import DatabaseConnection
from gateway.plugin.connections.http import HttpConnection
from gateway.plugin.connections.settings import BreakerSettings, ConnectionSettings
from gateway.plugin.connections.slack import SlackConnection
from gateway.plugin.connections.smtp import DownloadSettings, SmtpConnection
from gateway.plugin.connections.web import WebConnection

__all__ = [
    "BreakerSettings",
    "ConnectionSettings",
    "DatabaseConnection",
    "DownloadSettings",
    "HttpConnection",
    "SlackConnection",
    "SmtpConnection",
    "WebConnection",
]
