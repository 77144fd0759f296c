"""A typed client of the admin API, for programs of your own: docs/client.md. Its calls and records are made from the
API's document, and a test compares them. It imports nothing of the gateway.
"""

from __future__ import annotations

from gateway.client.calls import GatewayClient
from gateway.client.session import ClientError, PageOf, ProblemError, UnreachableError, each

__all__ = ["ClientError", "GatewayClient", "PageOf", "ProblemError", "UnreachableError", "each"]
