"""What all statements to PostgreSQL share."""

from __future__ import annotations

NOW = "now_ms($1::bigint)"


def call(function: str, types: str) -> str:
    """The statement that calls a function of the schema; its parameters have these types."""
    marks = ", ".join(f"${place}::{type_.strip()}" for place, type_ in enumerate(types.split(","), 1))
    return f"SELECT {function}({marks})"
