"""TLS on the public listener, with certificates that a reload replaces."""

from __future__ import annotations

import ssl
from typing import Any

from gateway.config.load import Config
from gateway.core.errors import UsageError


def read_certificate(config: Config) -> ssl.SSLContext | None:
    """The certificate and key of `server.tls`, or None where TLS ends in front. Raises UsageError."""
    tls = config.settings.server.tls
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.folder / tls.cert, config.folder / tls.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"server.tls: cannot read the certificate or key: {error}") from None
    return context


class Certificate:
    """What a listener is given: each handshake uses the certificate in force when it begins."""

    def __init__(self, first: ssl.SSLContext) -> None:
        self.in_force = first
        self.listening = first

        def choose(connection: Any, name: str | None, context: ssl.SSLContext) -> None:
            connection.context = self.in_force

        first.sni_callback = choose
