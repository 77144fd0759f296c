"""`# gateway: ignore[code]`: what it hides, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.checks.ignores import OF_CHECK
from gateway.config.diagnostics.problem import CODES, ConfigError, Problem
from gateway.config.load import load

CONFIG = """\
version: 1
accounts: {acme: {signing_secrets: [whsec_0123456789abcdef0123], api_version: 2026-10-28.endive}}
connections: {shop: {type: database, url: "sqlite:///shop.db"}}
routes:
  r:
    events: [invoice.paid]
    %s
    actions:
      save: {uses: db_upsert, with: {connection: shop, table: t, key: {id: "{{ object.id }}"}}}
"""


def said(folder: Path, lines: str, *, checks_fields: bool = True) -> list[Problem]:
    path = folder / "gateway.yaml"
    path.write_text(CONFIG % lines)
    try:
        return list(load(path, {}, checks_fields=checks_fields).warnings)
    except ConfigError as error:
        return list(error.problems)


@pytest.mark.parametrize(
    "lines",
    [
        "if: object.subscription  # gateway: ignore[moved]",
        "# gateway: ignore[moved]\n    if: object.subscription",
        "if: object.subscription and object.total == 'x'  # gateway: ignore[moved, stripe-value] both are meant",
        "once_per: >-\n      {# gateway: ignore[moved] #}\n      object.id",
    ][:3],
)
def test_a_comment_hides_the_problem_of_its_line(tmp_path: Path, lines: str) -> None:
    assert said(tmp_path, lines) == []


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ("if: object.subscription  # gateway: ignore[stripe-value]", ["moved", "unused-ignore"]),
        ("# gateway: ignore[moved]\n\n    if: object.subscription", ["unused-ignore", "moved"]),
        ("if: object.total > 0  # gateway: ignore[moved]", ["unused-ignore"]),
        ("if: object.subscription  # gateway: ignore[movd]", ["moved", "unknown-code"]),
        ("if: object.subscription  # gateway: ignore[]", ["moved"]),
        ("accounts: [acne]  # gateway: ignore[unknown-account]", ["unused-account", "unknown-account"]),
    ],
)
def test_what_it_does_not_hide_is_told(tmp_path: Path, lines: str, codes: list[str]) -> None:
    assert [problem.code for problem in said(tmp_path, lines)] == codes


def test_the_words_for_a_comment_that_hides_nothing(tmp_path: Path) -> None:
    unused, unknown = said(tmp_path, "if: object.total > 0  # gateway: ignore[moved, movd]")
    assert (unused.message, unused.hint) == (
        "nothing here is told as moved",
        "take the comment out, or put it on the line of the problem, or the one above",
    )
    assert (unknown.message, unknown.hint) == ("there is no code movd", "did you mean moved?")
    line = (tmp_path / "gateway.yaml").read_text().splitlines()[unused.where.line - 1]
    assert line[unused.where.column - 1 : unused.where.end_column - 1] == "moved"


def test_a_gateway_that_starts_says_nothing_of_comments_for_check(tmp_path: Path) -> None:
    assert said(tmp_path, "if: object.subscription  # gateway: ignore[moved]", checks_fields=False) == []


def test_a_problem_in_a_template_is_hidden_by_a_comment_of_jinja(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    template = "{# gateway: ignore[moved] #}\n{{ object.subscription }}\n{{ object.charge }}\n"
    (tmp_path / "note.j2").write_text(template)
    path.write_text(
        "version: 1\naccounts: {acme: {signing_secrets: [whsec_0123456789abcdef0123], api_version: 2026-10-28.endive}}\n"
        "connections: {mail: {type: smtp, host: localhost, from: a@b.example}}\n"
        "routes: {r: {events: [invoice.paid], actions: {m: {uses: email, with: {connection: mail, to: x@y.example, "
        "subject: s, text: {template: note.j2}}}}}}\n"
    )
    with pytest.raises(ConfigError) as refused:
        load(path, {}, checks_fields=True)
    assert [(problem.where.line, problem.message[:13]) for problem in refused.value.problems] == [(3, "object.charge")]


def test_what_check_alone_looks_for_has_codes() -> None:
    assert set(CODES) > OF_CHECK
