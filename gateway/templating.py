"""The Jinja sandbox: expressions and templates of gateway.yaml, compiled once at load, rendered per delivery.

A value that is one lone `{{ expression }}` keeps its native type; anything else renders to text. Undefined names are
errors. A key wins over a method of the same name, so `object.items.data[0].price.id` works.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.errors import Where
from gateway.model import Expression


class Leaf:
    """One compiled scalar of a `with`. `is_constant` where it holds no template at all."""

    where: Where
    source: str
    is_constant: bool

    def render(self, scope: Mapping[str, Any]) -> Any:
        """Native value of a lone expression, else text. Raises TemplateError with this leaf's place, naming the
        missing field where one is missing.
        """
        raise NotImplementedError


class Templates:
    """Compiles. One per loaded configuration; `folder` is where template files are looked up."""

    def __init__(self, folder: Path) -> None:
        self.files_read: set[Path] = set()

    def expression(self, source: str, where: Where) -> Expression:
        """A bare Jinja expression such as `object.amount_total >= 100000`. Raises TemplateError."""
        raise NotImplementedError

    def leaf(
        self, source: str, where: Where, *, as_text: bool = False, escape: Callable[[str], str] | None = None
    ) -> Leaf:
        """A template text. `as_text`: even a lone expression renders to text. `escape` is applied to what each
        expression brings; `markupsafe.escape` turns on autoescaping. Raises TemplateError.
        """
        raise NotImplementedError

    def file(self, path: str, where: Where, *, escape: Callable[[str], str] | None = None) -> Leaf:
        """A template file below `folder`, which may include and extend others there. Raises TemplateError, also
        where there is no such file.
        """
        raise NotImplementedError
