"""Makes gateway/stripe/objects/ from the pinned `stripe` library: fields, types, values and what ids expand into.

    make stripe-objects

Only facts are read, from the syntax trees of the library's annotated classes; none of its 180 modules is imported.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[2] / "gateway" / "stripe" / "objects" / "objects.json"
_PLAIN = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "Any": "any",
    "UntypedStripeObject": "any",
    "Decimal": "decimal",
    "datetime": "datetime",
}
_TIME = re.compile(r"(^|_)(created|date|at|start|end|on|by|until|anchor|expires|fulfilled|activated)$|^date_")
_TIME_TEXT = re.compile(
    r"seconds since the Unix epoch|unix timestamp|\btimestamp\b|^(the )?time (at|when|after|by)", re.I
)
_COUNTS = {"divide_by", "monthly_anchor"}  # though they are named as times are
_AMOUNT = re.compile(r"amount|(^|_)(total|subtotal|balance|fee|net|cost)$")
_AMOUNT_TEXT = re.compile(r"smallest currency unit|minor unit|in cents", re.I)

Spec = Any
"""How a field's type is written; see `gateway.stripe.objects.fields`."""


def library() -> Path:
    """The folder of the `stripe` package."""
    spec = importlib.util.find_spec("stripe")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


class _Module:
    """One module of the library: its classes, and the classes that it names."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.imports: dict[str, tuple[str, str]] = {}  # the name here: module and name there
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = (node.module, alias.name)
        self.classes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}


class Library:
    """The objects of the library, by the name that Stripe gives them (`object`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modules: dict[str, _Module] = {}
        self.names: dict[tuple[str, str], str] = {}  # module and class: the object's name
        for path in sorted(folder.rglob("_*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            if path.name == "__init__.py" or "params" in parts or path.name.endswith("_service.py"):
                continue
            text = path.read_text(encoding="utf-8")
            if "OBJECT_NAME" not in text:
                continue
            module = _Module(path, ".".join(parts))
            self._modules[module.name] = module
            for node in module.classes.values():
                name = _constant(node, "OBJECT_NAME")
                if name is not None:
                    self.names[module.name, node.name] = name

    def objects(self) -> dict[str, dict[str, Spec]]:
        """Every object's fields, sorted by name."""
        described: dict[str, dict[str, Spec]] = {}
        for (module_name, class_name), name in sorted(self.names.items(), key=lambda item: item[1]):
            if module_name.endswith(
                ("_list_object", "_search_result_object")
            ):  # what lists hold is said where they are
                continue
            assert name not in described, f"{name} stands twice: {module_name}"
            module = self._modules[module_name]
            described[name] = self._fields(module, module.classes[class_name], {})
        return described

    def _fields(self, module: _Module, node: ast.ClassDef, outer: dict[str, ast.ClassDef]) -> dict[str, Spec]:
        inner = {**outer, **{child.name: child for child in node.body if isinstance(child, ast.ClassDef)}}
        fields: dict[str, Spec] = {}
        for field, annotation, doc in _annotated(node):
            spec = self._spec(module, annotation, inner)
            fields[field] = spec.replace("integer", _meaning(field, doc)) if isinstance(spec, str) else spec
        return fields

    def _spec(self, module: _Module, node: ast.expr, inner: dict[str, ast.ClassDef]) -> Spec:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):  # the library quotes what it imports
            node = ast.parse(node.value, mode="eval").body
            if isinstance(node, ast.Name) and (module.imports.get(node.id) or (module.name, node.id)) in self.names:
                return self._imported(module, node.id)
        if isinstance(node, ast.Name):
            if node.id in _PLAIN:
                return _PLAIN[node.id]
            if node.id in inner:
                return {"fields": self._fields(module, inner[node.id], inner)}
            return self._imported(module, node.id)
        assert isinstance(node, ast.Subscript), ast.dump(node)
        head, of = _dotted(node.value), node.slice
        if head == "Optional":
            return _nullable(self._spec(module, of, inner))
        if head == "Literal":
            return {"values": _literals(of)}
        if head == "Union":
            return self._union_of(module, of, inner)
        if head in ("List", "list"):
            return {"array": self._spec(module, of, inner)}
        if head in ("Dict", "UntypedStripeObject"):
            return {"map": self._spec(module, of.elts[1] if isinstance(of, ast.Tuple) else of, inner)}
        if head == "ListObject":
            return {"list": self._spec(module, of, inner)}
        assert head == "ExpandableField", head
        target = self._spec(module, of, inner)
        if "fields" in target:  # it has no name of its own, such as the rule of a charge's outcome
            return {"expands": [], "fields": target["fields"]}
        return {"expands": target["any_of"] if "any_of" in target else [target["object"]]}

    def _union_of(self, module: _Module, of: ast.expr, inner: dict[str, ast.ClassDef]) -> Spec:
        assert isinstance(of, ast.Tuple)
        specs = [self._spec(module, part, inner) for part in of.elts]
        values = [spec for spec in specs if isinstance(spec, dict) and "values" in spec]
        if values and all(spec == "string" for spec in specs if spec not in values):
            return {"values": values[0]["values"], "open": True}
        if all(isinstance(spec, dict) and "object" in spec for spec in specs):
            return {"any_of": [spec["object"] for spec in specs]}
        raise AssertionError(specs)

    def _imported(self, module: _Module, name: str) -> Spec:
        where = module.imports.get(name, (module.name, name))
        if where in self.names:
            return {"object": self.names[where]}
        other = self._modules.get(where[0])
        if other is None:
            path = self._folder.parent.joinpath(*where[0].split(".")).with_suffix(".py")
            other = self._modules[where[0]] = _Module(path, where[0])
        return {"fields": self._fields(other, other.classes[where[1]], {})}

    def thin_events(self) -> dict[str, dict[str, Spec]]:
        """Every thin event type: what it is `about`, and its own `data`, where it has them."""
        described: dict[str, dict[str, Spec]] = {}
        for path in sorted((self._folder / "events").glob("_v*_event.py")):
            module = _Module(path, f"stripe.events.{path.stem}")
            for node in module.classes.values():
                lookup = _constant(node, "LOOKUP_TYPE")
                if lookup is None or node.name.endswith("Notification"):
                    continue
                event: dict[str, Spec] = {}
                for child in node.body:
                    if isinstance(child, ast.FunctionDef) and child.name == "fetch_related_object":
                        assert child.returns is not None
                        event["about"] = self._spec(module, child.returns, {})["object"]
                inner = {child.name: child for child in node.body if isinstance(child, ast.ClassDef)}
                for field, annotation, _ in _annotated(node):
                    if field == "data":
                        event["data"] = self._spec(module, annotation, inner)["fields"]
                described[lookup] = event
        return dict(sorted(described.items()))


def _annotated(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr, str]]:
    """The fields of a class: name, annotation, and the text below it."""
    for position, child in enumerate(node.body):
        if not isinstance(child, ast.AnnAssign) or not isinstance(child.target, ast.Name):
            continue
        annotation = child.annotation
        if isinstance(annotation, ast.Subscript) and _dotted(annotation.value) == "ClassVar":
            continue
        after = node.body[position + 1] if position + 1 < len(node.body) else None
        text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        yield child.target.id, annotation, str(text).strip()


def _constant(node: ast.ClassDef, name: str) -> str | None:
    """The text that a class gives to a name, or None."""
    for child in node.body:
        if isinstance(child, ast.AnnAssign | ast.Assign):
            target = child.target if isinstance(child, ast.AnnAssign) else child.targets[0]
            if isinstance(target, ast.Name) and target.id == name and isinstance(child.value, ast.Constant):
                return str(child.value.value)
    return None


def _meaning(field: str, text: str) -> str:
    """What an integer counts: Unix seconds, a currency's minor unit, or anything else."""
    if field in _COUNTS:
        return "integer"
    if _TIME.search(field) or _TIME_TEXT.search(text):
        return "time"
    return "amount" if _AMOUNT.search(field) or _AMOUNT_TEXT.search(text) else "integer"


def _nullable(spec: Spec) -> Spec:
    return f"{spec}?" if isinstance(spec, str) else {**spec, "null": True}


def _literals(node: ast.expr) -> list[Any]:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return [part.value for part in parts if isinstance(part, ast.Constant)]


def _dotted(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def described() -> dict[str, Any]:
    """What the file says: the library's version, Stripe's API version and the objects."""
    folder = library()
    (api_version,) = re.findall(r'CURRENT = "([^"]+)"', (folder / "_api_version.py").read_text(encoding="utf-8"))
    read = Library(folder)
    return {
        "library": version("stripe"),
        "api_version": api_version,
        "thin_events": read.thin_events(),
        "objects": read.objects(),
    }


def as_text(described: dict[str, Any]) -> str:
    """The file: one object or thin event a line, so that a difference can be read."""
    parts = []
    for key, value in described.items():
        if isinstance(value, str):
            parts.append(f"{json.dumps(key)}:{json.dumps(value)}")
            continue
        lines = [f"{json.dumps(name)}:{json.dumps(spec, separators=(',', ':'))}" for name, spec in value.items()]
        parts.append(f"{json.dumps(key)}:{{\n" + ",\n".join(lines) + "}")
    return "{" + ",\n".join(parts) + "}\n"


if __name__ == "__main__":
    TARGET.write_text(as_text(described()), encoding="utf-8")
