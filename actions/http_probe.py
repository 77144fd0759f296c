"""Asks an HTTP service for nothing: that it is reached, and how it answers."""

from __future__ import annotations

import aiohttp
from yarl import URL

from gateway.plugin import Finding, HttpConnection, refusal


async def probed(
    session: aiohttp.ClientSession, connection: HttpConnection, url: URL, use: str, timeout_seconds: float
) -> Finding:
    """What OPTIONS to an address says, with the connection's headers but unsigned."""
    headers = {"User-Agent": "stripe-fulfilment-gateway"}
    headers |= {name: secret.get_secret_value() for name, secret in connection.headers.items()}
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    try:
        async with session.options(url, headers=headers, allow_redirects=False, timeout=timeout) as response:
            return _meaning(response.status, use)
    except aiohttp.ClientConnectorCertificateError as error:
        reason = getattr(error.certificate_error, "verify_message", "") or type(error.certificate_error).__name__
        text = f"the certificate of {error.host} is not good: {reason}"
        return Finding.bad(text, "have it renewed, or use the name that is in it", use=use)
    except aiohttp.ClientConnectorError as error:
        if reason := refusal(error.os_error):
            fix = "give an address that may be reached; allow_private allows private ones, never metadata addresses"
            return Finding.bad(f"is never connected to: {reason}", fix, use=use)
        why = error.os_error.strerror or str(error.os_error) or type(error.os_error).__name__
        return Finding.bad(
            f"cannot connect to {error.host}:{error.port}: {why}", "look at url, DNS and firewall", use=use
        )
    except (aiohttp.ClientError, ValueError) as error:
        return Finding.bad(f"does not speak HTTP: {type(error).__name__}", "look at url: its scheme and port", use=use)


def _meaning(status: int, use: str) -> Finding:
    text = f"answers {status} to OPTIONS, unsigned"
    if 300 <= status < 400:
        return Finding.bad(f"{text}: a redirect, which is never followed", "put the final address into url", use=use)
    if status == 410:
        return Finding.bad(f"{text}: gone", "put the service's present address into url", use=use)
    if status >= 500:
        return Finding.bad(f"{text}: it fails", "look at the service's log", use=use)
    if status == 404:
        return Finding.note(f"{text}: reached, the path perhaps wrong", "see whether the path in url is right", use=use)
    if status in (401, 403):
        return Finding.note(f"{text}: reached; forwards carry a signature that this request lacks", use=use)
    return Finding.good(f"{text}: reached", use=use)
