"""A third-party action: one class in one file. Name this folder in `plugins:` and write `uses: audit_file`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from gateway.plugin import Action, Context, Reject, Settings


class AuditFileSettings(Settings):
    """`with` of audit_file."""

    path: str = Field(description="A file below the folder of gateway.yaml.")
    line: dict[str, Any] = Field(description="What to note.")


class AuditFile(Action[AuditFileSettings]):
    """Appends a JSON line to a file. A second run appends a second line with the same delivery id."""

    name: ClassVar[str] = "audit_file"
    Settings: ClassVar[type[Settings]] = AuditFileSettings

    async def run(self, settings: AuditFileSettings, context: Context) -> Mapping[str, Any]:
        """Appends one line. Output: bytes."""
        folder = Path(context.base_folder).resolve()
        file = (folder / settings.path).resolve()
        if not file.is_relative_to(folder):
            raise Reject(f"path {settings.path!r} leaves the folder of gateway.yaml")
        text = json.dumps({"delivery": context.delivery_id, **settings.line}, default=str) + "\n"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as out:
            out.write(text)
        return {"bytes": len(text)}
