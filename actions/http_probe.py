"""Asks an HTTP service for nothing: that it is reached, and how it answers."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
from yarl import URL

from actions.http_request import USER_AGENT
from gateway.plugin import Finding, refusal
from gateway.plugin.web_client import WebClient, untrusted


async def probed(client: WebClient, headers: Mapping[str, str], url: URL, use: str, timeout_seconds: float) -> Finding:
    """What OPTIONS to an address says, with the connection's headers but unsigned."""
    headers = {"User-Agent": USER_AGENT, **headers}
    try:
        async with client.request("OPTIONS", url, headers=headers, timeout_seconds=timeout_seconds) as response:
            return _meaning(response.status, use)
    except aiohttp.ClientHttpProxyError as error:
        text = f"the proxy answers {error.status}"
        return Finding.bad(text, "look at proxy: its user, and whether it lets this address through", use=use)
    except aiohttp.ClientConnectorCertificateError as error:
        return Finding.bad(
            untrusted(error), "have it renewed, use the name that is in it, or give its issuer as ca_file", use=use
        )
    except aiohttp.ClientConnectorError as error:
        if reason := refusal(error.os_error):
            return _refused(reason, use)
        why = error.os_error.strerror or str(error.os_error) or type(error.os_error).__name__
        where = "the proxy " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
        text = f"cannot connect to {where}{error.host}:{error.port}: {why}"
        return Finding.bad(text, "look at url, DNS and firewall", use=use)
    except (aiohttp.ClientError, ValueError) as error:
        return Finding.bad(f"does not speak HTTP: {type(error).__name__}", "look at url: its scheme and port", use=use)
    except TimeoutError:
        raise
    except OSError as error:
        reason = refusal(error)
        return _refused(reason, use) if reason else Finding.bad(str(error.strerror), "look at proxy and tls", use=use)


def _refused(reason: str, use: str) -> Finding:
    fix = "give an address that may be reached; allow_private allows private ones, never metadata addresses"
    return Finding.bad(f"is never connected to: {reason}", fix, use=use)


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
