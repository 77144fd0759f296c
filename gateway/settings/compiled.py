"""An action's `with`, compiled at load and rendered per delivery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.plugin import Settings


@dataclass(frozen=True, slots=True)
class Rendered:
    """What rendering brought: the typed settings for `run`, and the same as JSON values, to keep with the delivery.

    Deferred parts are missing in `kept` until the action renders them; then they appear, a list where there were many.
    """

    settings: Settings
    kept: dict[str, Any]


class CompiledWith:
    """What `ActionUse.settings` holds."""

    def render(self, scope: Mapping[str, Any]) -> Rendered:
        """Renders every leaf and validates the whole. Raises TemplateError with the place of the leaf that failed, or
        whose value the action does not take.
        """
        raise NotImplementedError
