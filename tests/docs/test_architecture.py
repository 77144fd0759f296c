"""How large a file and a function may be, names that are there once, and no circle of imports."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache

import grimp

from tests.acceptance.harness import ROOT

MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 70


@cache
def sources() -> dict[str, str]:
    """The text of each file that people write."""
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for folder in ("gateway", "actions")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".html", ".css", ".js"}
    }


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Each file of Python with each node of its tree."""
    parsed = ((name, ast.parse(text)) for name, text in sources().items() if name.endswith(".py"))
    return [(name, node) for name, tree in parsed for node in ast.walk(tree)]


def test_no_file_is_too_long() -> None:
    assert [name for name, text in sources().items() if len(text.splitlines()) > MOST_LINES] == []


def test_no_function_is_too_long() -> None:
    large = [
        f"{name}:{node.name}"
        for name, node in nodes()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MOST_LINES_OF_A_FUNCTION
    ]
    assert large == []


def test_no_class_has_the_name_of_another() -> None:
    classes = Counter(node.name for _, node in nodes() if isinstance(node, ast.ClassDef))
    assert [name for name, count in classes.items() if count > 1] == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph("gateway", "actions", exclude_type_checking_imports=True, cache_dir=None)
    both_ways = {
        module: graph.find_upstream_modules(module) & graph.find_downstream_modules(module) for module in graph.modules
    }
    assert {tuple(sorted(others | {module})) for module, others in both_ways.items() if others} == set()


def test_who_writes_a_plugin_sees_the_types() -> None:
    assert (ROOT / "gateway/py.typed").exists()
