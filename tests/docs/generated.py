"""The files that are made from the code, and what each should hold: `python -m tests.docs.generated` writes them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gateway.config.plugins import find_actions
from gateway.config.schema.json_schema import json_schema
from gateway.config.schema.markdown import reference
from gateway.stripe.event_types import types_in_order
from tests.docs.client import client
from tests.docs.public_api import public_api

ROOT = Path(__file__).parents[2]
EVERY_ACTION = ROOT / "config" / "examples" / "every-action"
TEMPLATE = ROOT / "docs" / "configuration.template.md"
_NOTE = "<!-- Made from docs/configuration.template.md and the code by `make generated`: change those. -->\n\n"


def generated() -> dict[Path, str]:
    """Each file's text."""
    actions, complaints = find_actions([])
    assert not complaints, complaints
    with_plugins, complaints = find_actions([EVERY_ACTION / "plugins"])
    assert not complaints, complaints
    event_types = types_in_order()
    schema = json_schema(actions, event_types)
    included = json_schema(actions, event_types, is_included=True)
    text = TEMPLATE.read_text().replace("<!-- reference -->\n", reference(schema))
    return {
        ROOT / "config" / "schema" / "gateway.schema.json": _json(schema),
        ROOT / "config" / "schema" / "included.schema.json": _json(included),
        EVERY_ACTION / "gateway.schema.json": _json(json_schema(with_plugins, event_types)),
        **client(),
        ROOT / "docs" / "sdk.md": public_api(),
        ROOT / "llms.txt": _llms(),
        ROOT / "docs" / "configuration.md": _NOTE + text.replace("<!-- contents -->", _contents(text)),
    }


def anchor(title: str) -> str:
    """Where a heading is found on a page."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _contents(text: str) -> str:
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    return "\n".join(f"- [{title}](#{anchor(title)})" for title in titles)


def _llms() -> str:
    """The contents for assistants, in the form of llmstxt.org: docs/index.md with links that start at the root."""
    index = (ROOT / "docs" / "index.md").read_text()
    title, _, sections = index.partition("\n## ")
    summary = title.split("\n\n")[1]
    links = re.sub(r"\]\((?!\.\./)", "](docs/", sections).replace("](../", "](")
    links = re.sub(r"\n  +", " ", links)  # a link and its words are one line
    assert title.startswith("# ")
    return (
        "# Stripe fulfilment gateway\n\n> "
        + summary.replace("\n", " ")
        + "\n\n[AGENTS.md](AGENTS.md) says how to write "
        "routes that are right.\n\n## " + links
    )


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


if __name__ == "__main__":
    for path, content in generated().items():
        path.write_text(content)
