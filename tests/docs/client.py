"""The files of gateway/client/ that are made from the API's OpenAPI document: a method for each of its operations, a
frozen record for each of its types.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.admin.api.openapi import document

ROOT = Path(__file__).parents[2]
NOTE = "Made from the API's document by `make generated`."
REPORTS = ("/overview", "/accounts", "/connections", "/routes", "/rejected", "/config", "/audit", "/playground")
HEADS = {  # of each file: what it holds, and what it imports
    "calls": (
        "What can be asked of a gateway.",
        "from collections.abc import Sequence\nfrom datetime import datetime\nfrom typing import Literal\n\n"
        "from gateway.client import records, reports\nfrom gateway.client.session import ApiSession, PageOf\n\n\n"
        "class GatewayClient(ApiSession):\n"
        '    """A gateway\'s API, as one token may. Each call raises ClientError."""\n',
    ),
    "records": (
        "Events, deliveries and changes to them.",
        "from collections.abc import Sequence\nfrom datetime import datetime\nfrom typing import Any, Literal\n\n"
        "import msgspec\n\n",
    ),
    "reports": (
        "How a gateway does.",
        "from datetime import datetime\nfrom typing import Any, Literal\n\nimport msgspec\n\n",
    ),
}
_SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_PAGE = re.compile(r"ListOf_(\w+?)_?$")
_LINE = 120


def client() -> dict[Path, str]:
    """Each file's text."""
    generator = _Generator(document())
    bodies = {
        "calls": generator.calls(),
        "records": generator.records("records"),
        "reports": generator.records("reports"),
    }
    return {
        ROOT / "gateway" / "client" / f"{name}.py": _formatted(
            f'"""{words} {NOTE}"""\n\nfrom __future__ import annotations\n\n{imports}{bodies[name]}'
        )
        for name, (words, imports) in HEADS.items()
    }


def _formatted(text: str) -> str:
    ruff = [str(Path(sys.executable).with_name("ruff")), "format", "--config", str(ROOT / "pyproject.toml"), "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


def _operations(api: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method, operation."""
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            yield path.removeprefix("/api/v1"), method.upper(), operation


class _Generator:
    def __init__(self, api: Mapping[str, Any]) -> None:
        self._api = api
        self._schemas: dict[str, Any] = api["components"]["schemas"]
        self._sent: set[str] = set()  # stand inside a request's body; the body itself is a call's arguments
        self._modules: dict[str, str] = {}
        for path, _, operation in _operations(api):
            self._reached(self._body(operation), self._sent)
            answered = self._reached(operation["responses"]["200"], set())
            for name in answered | self._sent:
                if not path.startswith(REPORTS):
                    self._modules[name] = "records"
                self._modules.setdefault(name, "reports")

    def _reached(self, part: Any, names: set[str]) -> set[str]:
        """Adds the names of all types that a part of the document leads to."""
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        if isinstance(part, dict) and "$ref" in part:
            name = part["$ref"].rpartition("/")[2]
            if name not in names:
                names.add(name)
                self._reached(self._schemas[name], names)
        for each in inner:
            self._reached(each, names)
        return names

    def _body(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        """The type of an operation's body; empty where it takes none."""
        if "requestBody" not in operation:
            return {}
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        return dict(self._schemas[reference.rpartition("/")[2]])

    def _annotation(self, schema: Mapping[str, Any], module: str, *, is_sent: bool = False) -> str:
        """What is sent may be any sequence, and a time also text, such as `2h`."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            page = _PAGE.match(name)
            if page is not None:
                return f"PageOf[{self._named(page[1], module)}]"
            return self._named(name, module)
        if "enum" in schema:
            return f"Literal[{', '.join(map(repr, schema['enum']))}]"
        if "anyOf" in schema:
            return " | ".join(self._annotation(part, module, is_sent=is_sent) for part in schema["anyOf"])
        if schema.get("format") == "date-time":
            return "datetime | str" if is_sent else "datetime"
        if schema.get("type") == "array":
            items = self._annotation(schema["items"], module, is_sent=is_sent)
            return f"Sequence[{items}]" if is_sent else f"tuple[{items}, ...]"
        if schema.get("type") == "object":
            values = schema.get("additionalProperties")
            return f"dict[str, {self._annotation(values, module) if isinstance(values, dict) else 'Any'}]"
        return _SIMPLE.get(str(schema.get("type")), "Any")

    def _named(self, schema: str, module: str) -> str:
        """`EventOut` as `EventRecord`, for the gateway has the shorter names for its own; seen from a module."""
        own = self._modules[schema]
        return ("" if own == module else f"{own}.") + schema.removesuffix("Out") + "Record"

    def records(self, module: str) -> str:
        """The types of one file."""
        own = [name for name in self._schemas if self._modules.get(name) == module and not _PAGE.match(name)]
        return "\n\n".join(self._record(name, self._schemas[name], module) for name in own)

    def _record(self, name: str, schema: Mapping[str, Any], module: str) -> str:
        words, is_sent = " ".join(schema["description"].split()), name in self._sent
        if "enum" in schema:
            return f"{self._named(name, module)} = {self._annotation(schema, module)}\n" + f'"""{words}"""'
        options = "frozen=True, kw_only=True" + (", omit_defaults=True" if is_sent else "")
        lines = [f"class {self._named(name, module)}(msgspec.Struct, {options}):", f'    """{words}"""', ""]
        for field, part in schema["properties"].items():
            line = f"    {field}: {self._annotation(part, module, is_sent=is_sent)}"
            if field not in schema.get("required", ()):
                line += f" = {self._default(part, module)}"
            told = f"  # {part['description']}" if "description" in part else ""
            lines += [line + told] if len(line + told) <= _LINE else [f"  {told}", line]
        return "\n".join(lines) + "\n"

    def _default(self, part: Mapping[str, Any], module: str) -> str:
        if part.get("type") == "array":
            return "()"
        if part.get("type") == "object":
            return "msgspec.field(default_factory=dict)"
        if "$ref" in part:
            return f"msgspec.field(default_factory=lambda: {self._annotation(part, module)}())"
        return repr(part.get("default"))

    def calls(self) -> str:
        """A method for each operation."""
        return "\n".join(self._method(*operation) for operation in _operations(self._api))

    def _method(self, path: str, method: str, operation: Mapping[str, Any]) -> str:
        parameters, body = operation["parameters"], self._body(operation)
        names = [part["name"] for part in parameters if part["in"] == "path"]
        query = {part["name"]: part["schema"] for part in parameters if part["in"] == "query"}
        sent: dict[str, Any] = body.get("properties", {})
        needed = {*body.get("required", ()), *(part["name"] for part in parameters if part["required"])}
        options = []
        for field, part in (query | sent).items():
            annotation = self._annotation(part, "calls", is_sent=True)
            optional = f"{annotation.removesuffix(' | None')} | None = None"
            options.append(f"{field}: {annotation if field in needed else optional}")
        options.sort(key=lambda option: option.endswith("= None"))
        answer = self._annotation(operation["responses"]["200"]["content"]["application/json"]["schema"], "calls")
        signature = ", ".join(["self", *(f"{name}: str" for name in names), *(["*", *options] if options else [])])
        arguments = [answer, repr(method), repr(re.sub(r"\{\w+\}", "{}", path))]
        arguments += [f"({', '.join(names)},)"] if names else []
        for word, fields in (("query", query), ("body", sent)):
            arguments += [f"{word}={{{', '.join(f'{field!r}: {field}' for field in fields)}}}"] if fields else []
        return (
            f"    async def {operation['operationId']}({signature}) -> {answer}:\n"
            f'        """{operation["summary"]}."""\n'
            f"        return await self._ask({', '.join(arguments)})\n"
        )
