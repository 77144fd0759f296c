"""What an API key tells of itself. https://docs.stripe.com/keys, https://docs.stripe.com/keys/organization-api-keys"""

from __future__ import annotations

import re

_MODE = re.compile(r"[sr]k(?:_org)?_(live|test)_")
_ORGANISATION = re.compile(r"[sr]k_org_")


def is_live_key(api_key: str) -> bool | None:
    """Whether a key is of live mode: each mode has keys, objects and endpoints of its own. None where an organisation's
    does not say.
    """
    mode = _MODE.match(api_key)
    if mode is None:
        return None if is_organisation_key(api_key) else True
    return mode[1] == "live"


def is_organisation_key(api_key: str) -> bool:
    """Whether a key is of an organisation: each request with it has to name one of its accounts."""
    return _ORGANISATION.match(api_key) is not None
