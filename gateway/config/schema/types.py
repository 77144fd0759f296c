"""What the parts of gateway.yaml are made of: their base, and the values that a key may have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from gateway.core.client_address import Network, parse_network
from gateway.plugin import Duration
from gateway.privacy.redaction import parse_path
from gateway.store.encryption.keyring import decode_key

MAX_TIMEOUT_SECONDS = 600.0  # contract, section 8: an attempt ends after at most 10m
STRIPE = "stripe"  # in allowed_ips: the addresses that Stripe publishes


class Section(BaseModel):
    """The base of every part: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def within(message: str, *, above: float = -1.0, least: float = 0.0, most: float = float("inf")) -> AfterValidator:
    """Bounds a number, and says so in these words."""

    def check(value: float) -> float:
        if not (value > above and least <= value <= most):
            raise ValueError(message)
        return value

    return AfterValidator(check)


Timeout = Annotated[Duration, within("a timeout is more than 0 and at most 10m", above=0, most=MAX_TIMEOUT_SECONDS)]
Bound = Annotated[Duration, within("expected more than 0", above=0)]


# -- addresses ------------------------------------------------------------------------------------------------


def _listen(value: object) -> object:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ValueError("expected host:port, such as 127.0.0.1:8080")
    return value


Listen = Annotated[
    str,
    BeforeValidator(_listen),
    WithJsonSchema({"title": "host:port", "type": "string", "pattern": r":\d+$", "examples": ["127.0.0.1:8080"]}),
]
"""host:port; an IPv6 host stands in brackets."""


def split_listen(listen: str) -> tuple[str, int]:
    """Host (without brackets) and port of a checked `listen`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def _allowed_ip(value: object) -> Network | str:
    try:
        return STRIPE if value == STRIPE else parse_network(value)
    except ValueError:
        raise ValueError("expected stripe, an address or a network such as 10.1.0.0/16") from None


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_NETWORK = {"type": "string", "title": "address or network", "examples": ["10.1.0.0/16"]}
_ALLOWED = {"type": "string", "title": "stripe, address or network", "examples": [STRIPE, "10.1.0.0/16"]}
NetworkText = Annotated[Network, PlainValidator(parse_network), WithJsonSchema(_NETWORK)]
AllowedIp = Annotated[Network | str, PlainValidator(_allowed_ip)]
AllowedIps = Annotated[
    list[AllowedIp],
    BeforeValidator(_as_list),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [_ALLOWED, {"type": "array", "items": _ALLOWED, "minItems": 1}]}),
]


# -- keys, paths and what Stripe names --------------------------------------------------------------------------


def _store_keys(value: object) -> object:
    """One key stands for a list of it; an empty one, such as an unset variable with an empty default, for none."""
    if not isinstance(value, list):
        value = [value]
    return [key for key in value if key != ""]


def _store_key(value: SecretStr) -> SecretStr:
    decode_key(value.get_secret_value())
    return value


_KEY = {"type": "string", "format": "password", "writeOnly": True}
StoreKeys = Annotated[
    list[Annotated[SecretStr, AfterValidator(_store_key)]],
    BeforeValidator(_store_keys),
    WithJsonSchema({"anyOf": [_KEY, {"type": "array", "items": _KEY}]}),
]


def _redacted(value: str) -> str:
    parse_path(value)
    return value


RedactedField = Annotated[
    str,
    AfterValidator(_redacted),
    WithJsonSchema(
        {"title": "path", "type": "string", "pattern": r"^(data|\*\*|changes|related_object)(\.[A-Za-z0-9_*-]+)*$"}
    ),
]


@dataclass(frozen=True, slots=True)
class _Form:
    """Marks text of a form, with an error that says which."""

    title: str  # in a word, for editors and documentation
    pattern: str
    expected: str

    def check(self, value: str) -> str:
        """The same. Raises ValueError."""
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"expected {self.expected}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"title": self.title, "type": "string", "pattern": f"^({self.pattern})$"}


ApiVersion = Annotated[
    str, _Form("API version", r"\d{4}-\d{2}-\d{2}(\.[a-z_]+)?", "a version of Stripe's API, such as 2026-10-28.endive")
]
ConnectedId = Annotated[
    str, _Form("connected account", "acct_[A-Za-z0-9]+", "the id of a connected account, such as acct_1Sb9KxQ4mTz7Yp2L")
]
WantedConnected = Annotated[
    str,
    _Form("connected account", r"acct_[A-Za-z0-9]+|\*|none", 'the id of a connected account (acct_...), "*" or none'),
]
AskedConnected = Annotated[
    str, _Form("connected account", r"acct_[A-Za-z0-9]+|\*", 'the id of a connected account (acct_...), or "*"')
]
Expand = Annotated[
    str,
    _Form("field", r"[a-z]\w*(\.[a-z]\w*){0,3}", "a field to expand, at most four deep, such as line_items.data.price"),
]


_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")


def parse_share(value: object) -> float:
    """The share, from 0 to 1, of `2%`. Raises ValueError."""
    if isinstance(value, float):  # already parsed: defaults and copies of models
        return value
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 0 < float(match[1]) <= 100:
        raise ValueError("expected a share such as 2% or 0.5%")
    return float(match[1]) / 100


Share = Annotated[
    float,
    BeforeValidator(parse_share),
    WithJsonSchema({"title": "share", "type": "string", "pattern": f"^{_SHARE.pattern}$", "examples": ["1%", "0.5%"]}),
]
"""A part of a whole, from 0 to 1, written `2%`."""
