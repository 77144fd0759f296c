"""Compiled expressions, as whoever evaluates them sees them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from gateway.core.errors import Where


class Expression(Protocol):
    """A compiled Jinja expression, such as a route's `if`."""

    @property
    def source(self) -> str:
        """The text as written."""

    @property
    def where(self) -> Where:
        """Its place in the YAML."""

    def prepare(self) -> None:
        """Does now what the first `evaluate` would do: an event need not wait for it."""

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """The expression's native value. Raises TemplateError."""


class TimeExpression(Expression, Protocol):
    """One that brings a time, such as an action's `at`."""

    def evaluate(self, scope: Mapping[str, Any]) -> datetime:
        """An aware UTC time. Raises TemplateError, also where it brings none."""
