"""Pure: what an account's webhook endpoints at Stripe send, against what the routes want."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from gateway.plugin import Finding
from gateway.stripe.event_types import is_thin, sent_types

EVERY = "*"
_SHOWN = 8
_SECTION = "Developers > Webhooks in Stripe's dashboard"


def ours(
    endpoints: Iterable[Mapping[str, Any]], account: str, *, is_path_shared: bool = True
) -> list[Mapping[str, Any]]:
    """The endpoints that lead to this gateway, by their path; the one without a name only where it is open."""
    paths = (f"/webhooks/{account}", "/webhooks") if is_path_shared else (f"/webhooks/{account}",)
    return [
        endpoint for endpoint in endpoints if urlsplit(str(endpoint.get("url", ""))).path.rstrip("/").endswith(paths)
    ]


def endpoint_findings(
    endpoints: Sequence[Mapping[str, Any]],
    account: str,
    patterns: Sequence[str],
    library_version: str,
    api_version: str | None = None,
    *,
    is_path_shared: bool = True,
) -> Iterator[Finding]:
    """Whether there is an endpoint, whether it is enabled, its version, and the types that it sends."""
    leading = ours(endpoints, account, is_path_shared=is_path_shared)
    if not leading:
        others = f" ({len(endpoints)} lead{'s' if len(endpoints) == 1 else ''} elsewhere)" if endpoints else ""
        fix = f"register https://YOUR-HOST/webhooks/{account} under {_SECTION}"
        yield Finding.bad(f"no webhook endpoint at Stripe leads to /webhooks/{account}{others}", fix)
        return
    enabled = [endpoint for endpoint in leading if endpoint.get("status") == "enabled"]
    for endpoint in leading:
        yield from _endpoint(endpoint, account, library_version, api_version)
    if enabled:
        yield from type_findings(_types(enabled), patterns)


def _endpoint(
    endpoint: Mapping[str, Any], account: str, library_version: str, api_version: str | None
) -> Iterator[Finding]:
    """One endpoint, and whether its events are of the version that the account's templates are written for."""
    name = f"endpoint {endpoint.get('id')} ({endpoint.get('url')})"
    if endpoint.get("status") != "enabled":
        yield Finding.bad(f"{name} is {endpoint.get('status')}", f"enable it under {_SECTION}")
        return
    version, wanted = endpoint.get("api_version"), f"accounts.{account}.api_version"
    shown = f"in version {version}" if version else "in the account's default version"
    text = f"{name} is enabled and sends events {shown}"
    if version and api_version and version != api_version:
        fix = (
            f"`gateway check --api-version {version}` lists what means something else there; then {wanted}: {version}, "
            f"or an endpoint in {api_version} (`gateway endpoints sync`): one that is made keeps its version"
        )
        yield Finding.bad(f"{text}, but {wanted} is {api_version}", fix)
    elif api_version and not version:
        fix = f"look under {_SECTION} that it is {api_version}, or make an endpoint of that version"
        yield Finding.note(f"{text}, while {wanted} is {api_version}", fix)
    elif version and not api_version and version != library_version:
        fix = f"write templates for {version}, and {wanted}: {version}; `gateway check` then holds them against it"
        yield Finding.note(f"{text}; this gateway's is {library_version}", fix)
    else:
        yield Finding.good(text)


def _types(endpoints: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(kind for endpoint in endpoints for kind in endpoint.get("enabled_events", ()))


def type_findings(sent: frozenset[str], patterns: Sequence[str]) -> Iterator[Finding]:
    """What the routes want and is not sent, and what is sent and no route wants."""
    thin = [pattern for pattern in dict.fromkeys(patterns) if is_thin(pattern)]
    wanted = {pattern: sent_types(pattern) for pattern in patterns if not is_thin(pattern)}
    every = frozenset[str]().union(*wanted.values())
    if EVERY in sent:
        text = f"the endpoint sends every type; the routes want {len(every)} of them"
        yield Finding.note(text, "name the types at Stripe")
    else:
        yield from _named_types(sent, wanted, every)
    if thin:
        text = f"thin events come by event destinations, which are not looked at: {_some(thin)}"
        yield Finding.note(text, f"see that a destination under {_SECTION} sends them")


def _named_types(
    sent: frozenset[str], wanted: Mapping[str, frozenset[str]], every: frozenset[str]
) -> Iterator[Finding]:
    missing = sorted(pattern for pattern, types in wanted.items() if not types & sent)
    if missing:
        text = f"the endpoint does not send what routes want: {_some(missing)}"
        yield Finding.bad(text, f"add {'it' if len(missing) == 1 else 'them'} to the endpoint under {_SECTION}")
    else:
        yield Finding.good("the endpoint sends every type that the routes name")
    partly = sorted(frozenset[str]().union(*(types for types in wanted.values() if types & sent)) - sent)
    if partly:
        text = f"globs of the routes match types that the endpoint does not send: {_some(partly)}"
        yield Finding.note(text, "add them at Stripe if they are meant")
    if unwanted := sorted(sent - every):
        yield Finding.note(
            f"the endpoint sends types that no route wants: {_some(unwanted)}", "take them off at Stripe"
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
