"""The schema as SchemaStore takes it, under a folder: `python -m tests.docs.schemastore FOLDER`, or `make schemastore`.

The layout and the keys are those that SchemaStore's CONTRIBUTING describes: the schema with its `$id`, an entry for the
catalog, the keywords that editors know and JSON Schema does not, and files that must and must not be valid.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NAME = "stripe-fulfilment-gateway"
_URL = f"https://json.schemastore.org/{NAME}.json"
_EDITORS_KEYWORDS = ["defaultSnippets", "enumDescriptions", "errorMessage", "markdownDescription"]
_GOOD = ("one-account", "connect", "subscriptions")
_BAD = {
    "misspelt-key": "version: 1\naccounts: {acme: {signing_secrets: [whsec_a]}}\nroute: {}\n",
    "no-account": "version: 1\nroutes: {}\n",
    "version-that-is-none": "version: 2\naccounts: {acme: {signing_secrets: [whsec_a]}}\n",
}


def files() -> dict[str, str]:
    """Each file's text, by its path in a copy of SchemaStore's repository."""
    schema: dict[str, Any] = json.loads((ROOT / "config/schema/gateway.schema.json").read_text())
    schema = {"$schema": schema.pop("$schema"), "$id": _URL, **schema, "title": "Stripe fulfilment gateway"}
    entry = {
        "name": "Stripe fulfilment gateway",
        "description": "Routes from Stripe's events to databases, mails, services and chats",
        "fileMatch": ["**/stripe-gateway/gateway.yaml", "gateway.stripe.yaml"],
        "url": _URL,
    }
    made = {
        f"src/schemas/json/{NAME}.json": _json(schema),
        "catalog-entry.json": _json(entry),
        "schema-validation-entry.json": _json({f"{NAME}.json": {"unknownKeywords": _EDITORS_KEYWORDS}}),
    }
    for name in _GOOD:
        made[f"src/test/{NAME}/{name}.yaml"] = (ROOT / "config/examples" / name / "gateway.yaml").read_text()
    return made | {f"src/negative_test/{NAME}/{name}.yaml": text for name, text in _BAD.items()}


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


if __name__ == "__main__":
    for path, text in files().items():
        target = Path(sys.argv[1]) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
