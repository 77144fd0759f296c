"""Text of a form that Stripe gives: ids, versions, fields to expand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema


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
