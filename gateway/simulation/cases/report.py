"""How cases went, as text lines for people, JSON for programs and JUnit XML for CI systems."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from gateway.config.yaml.writing import as_yaml
from gateway.simulation.cases.matchers import ABSENT, is_matcher
from gateway.simulation.cases.run import CaseResult, Failure

Line = tuple[str, str]  # its kind (head, expected, found, plain), and its text
_LONGEST_LINE = 100


def failure_lines(result: CaseResult) -> Iterator[Line]:
    """A failed case: what was expected, what was found, and where that is written."""
    yield "head", f"FAILED {result.case.file}: {result.case.name}"
    for failure in result.failures:
        yield "plain", f"  {failure.where.file}:{failure.where.line}:{failure.where.column}: {sentence(failure)}"
        for kind, text in _difference(failure):
            yield kind, f"      {text}"
        for reason in failure.why:
            yield "plain", f"      {reason}"


def sentence(failure: Failure) -> str:
    """What is not as expected, in one line."""
    return f"{failure.what}: {failure.message}"


def _difference(failure: Failure) -> Iterator[Line]:
    expected, actual = failure.expected, failure.actual
    if expected is ABSENT and actual is ABSENT:
        return
    before, after = _text(expected), _text(actual)
    if isinstance(expected, str) and isinstance(actual, str) and "\n" in expected + actual:
        before, after = expected, actual
    is_short = all("\n" not in text and len(text) <= _LONGEST_LINE for text in (before, after))
    if is_short or expected is ABSENT or actual is ABSENT or is_matcher(expected):
        yield from (("expected", f"expected  {line}") for line in before.splitlines() or [""])
        yield from (("found", f"found     {line}") for line in after.splitlines() or [""])
        return
    kinds = {"- ": "expected", "+ ": "found", "  ": "plain"}
    yield "expected", "- expected"
    yield "found", "+ found"
    for line in difflib.ndiff(before.splitlines(), after.splitlines()):
        if not line.startswith("? "):
            yield kinds[line[:2]], line


def _text(value: Any) -> str:
    if value is ABSENT:
        return "nothing"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (Mapping, list)):
        flow = json.dumps(value, ensure_ascii=False, default=str)
        if len(flow) <= _LONGEST_LINE:
            return flow
        return as_yaml(value, width=_LONGEST_LINE).rstrip()
    return json.dumps(value, default=str)


def as_json(results: Sequence[CaseResult]) -> list[dict[str, Any]]:
    """One object for each case."""
    return [
        {
            "file": result.case.file,
            "name": result.case.name,
            "line": result.case.source.where_key(result.case.at).line,
            "passed": result.passed,
            "seconds": round(result.seconds, 4),
            "failures": [
                {
                    "file": failure.where.file,
                    "line": failure.where.line,
                    "column": failure.where.column,
                    "what": failure.what,
                    "message": failure.message,
                    "expected": None if failure.expected is ABSENT else failure.expected,
                    "found": None if failure.actual is ABSENT else failure.actual,
                    "why": list(failure.why),
                }
                for failure in result.failures
            ],
        }
        for result in results
    ]


def as_junit(results: Sequence[CaseResult]) -> bytes:
    """JUnit XML: one suite for each file. https://github.com/testmoapp/junitxml"""
    root = ElementTree.Element("testsuites", _counts(results))
    for file in dict.fromkeys(result.case.file for result in results):
        own = [result for result in results if result.case.file == file]
        suite = ElementTree.SubElement(root, "testsuite", {"name": file, **_counts(own)})
        for result in own:
            attributes = {
                "classname": file,
                "name": _xml_text(result.case.name),
                "file": file,
                "line": str(result.case.source.where_key(result.case.at).line),
                "time": f"{result.seconds:.4f}",
            }
            case = ElementTree.SubElement(suite, "testcase", attributes)
            if not result.passed:
                message = _xml_text(sentence(result.failures[0]))
                failure = ElementTree.SubElement(case, "failure", {"message": message, "type": "difference"})
                failure.text = _xml_text("\n".join(text for _, text in failure_lines(result)))
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _counts(results: Sequence[CaseResult]) -> dict[str, str]:
    failed = sum(not result.passed for result in results)
    seconds = sum(result.seconds for result in results)
    return {"tests": str(len(results)), "failures": str(failed), "errors": "0", "time": f"{seconds:.4f}"}


def _xml_text(text: str) -> str:
    """What XML 1.0 can hold."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
