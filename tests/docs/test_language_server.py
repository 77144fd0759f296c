"""The editor's view: yaml-language-server on the shipped config with the shipped schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.generated import ROOT
from tests.docs.language_server import MARK, LanguageServer, installed
from tests.docs.test_generated import EXAMPLES

pytestmark = pytest.mark.xdist_group("language_server")  # one worker, so one server
NO_NAME = "expected a name: letters, digits, _ . - only, a letter first"
CONFIG = ROOT / "gateway.yaml"
TEXT = CONFIG.read_text()


@pytest.fixture(scope="module")
def editor() -> Iterator[LanguageServer]:
    """A running language server."""
    server = LanguageServer(installed())
    yield server
    server.stop()


def changed(old: str, new: str) -> str:
    """The shipped config with one place changed."""
    assert TEXT.count(old) == 1, old
    return TEXT.replace(old, new)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_nothing_is_marked_in_good_configs(editor: LanguageServer, path: Path) -> None:
    assert editor.diagnostics(path, path.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("port: 587", 'port: "${SMTP_PORT:-587}"'),
        ("tls: starttls", 'tls: "${SMTP_TLS:-starttls}"'),
        ("  timeout: 30s", "  timeout: ${TIMEOUT:-30s}"),
        ("ensure_table: true", 'ensure_table: "{{ vars.make_tables }}"'),
        ('key: {session_id: "{{ object.id }}"}', 'key: "{{ vars.key }}"'),
        ("          table: orders", '          for_each: "{{ object.line_items.data }}"\n          table: orders'),
        ("if: object.mode == 'payment' and object.payment_status != 'unpaid'", "if: false"),
        ("checkout.session.completed, ", "checkout.session.*, "),
        (
            'to: "{{ object.customer_details.email }}"',
            'to: [sales@acme.example, "{{ object.customer_details.email }}"]',
        ),
    ],
)
def test_variables_templates_and_globs_are_not_marked(editor: LanguageServer, old: str, new: str) -> None:
    assert editor.diagnostics(CONFIG, changed(old, new)) == []


@pytest.mark.parametrize(
    ("old", "new", "marked", "message"),
    [
        ("  max_body", "  max_bodi", "max_bodi", "Property max_bodi is not allowed."),
        ("timeout: 30s", "timeout: 30 seconds", "30 seconds", "expected a duration, such as 20s"),
        ("max_body: 1MiB", "max_body: 1MB", "1MB", "expected a size, such as 512KiB"),
        ("rate: 20/s", "rate: 20 a second", "20 a second", "expected a rate, such as 20/s"),
        ("listen: 127.0.0.1:8080", "listen: 8080", "8080", "expected host:port, such as 0.0.0.0:8080"),
        ("attempts: 20", "attempts: many", "many", "expected an integer from 1 to 1000"),
        ("attempts: 20", "attempts: 2000", "2000", "Value is above the maximum of 1000."),
        (
            "uses: slack", "uses: slak", "slak",
            "expected db_execute, db_query, db_upsert, email, http_forward, notify, publish, slack or stripe_call",
        ),
        ("type: database", "type: databse", "databse", "expected apprise, broker, database, http, slack or smtp"),
        ("tls: starttls", "tls: startls", "startls", "expected starttls, implicit or none"),
        ("livemode: any", "livemode: maybe", "maybe", "expected true, false or any"),
        ("ensure_table: true", "ensure_table: always", "always", "expected true or false"),
        ("ensure_table: true", "ensuretable: true", "ensuretable", "Property ensuretable is not allowed."),
        ("          table: orders\n", "", "with", 'Missing property "table".'),
        (', value: "{{ event.created }}"}', "}", "newest", 'Missing property "value".'),
        ("{template: config", "{tempalte: config", "tempalte", "Property tempalte is not allowed."),
        ("  fulfil-order:", "  fulfil order:", "fulfil order", NO_NAME),
        ("version: 1\n", "", "server", 'Missing property "version".'),
        ("version: 1", "version: 2", "2", "expected 1"),
        ("server:\n", "admin: 5\nserver:\n", "5", 'Incorrect type. Expected "mapping".'),
    ],
)  # fmt: skip
def test_mistakes_are_marked_where_they_are(
    editor: LanguageServer, old: str, new: str, marked: str, message: str
) -> None:
    text = changed(old, new)
    found = editor.diagnostics(CONFIG, text)
    assert message in [one["message"] for one in found]
    start = next(one["range"]["start"] for one in found if one["message"] == message)
    assert text.splitlines()[start["line"]][start["character"] :].startswith(marked)


def test_uses_offers_the_built_in_actions(editor: LanguageServer) -> None:
    offered = editor.completions(CONFIG, changed("uses: slack", f"uses: {MARK}"))
    assert set(offered) == {
        "db_execute",
        "db_query",
        "db_upsert",
        "email",
        "http_forward",
        "notify",
        "publish",
        "slack",
        "stripe_call",
    }
    assert offered["slack"]["documentation"].startswith("Posts a message by an incoming webhook")


def test_with_offers_the_keys_of_its_action_that_are_not_there_yet(editor: LanguageServer) -> None:
    offered = editor.completions(CONFIG, changed("          ensure_table: true", f"          {MARK}"))
    assert set(offered) == {"on_conflict", "for_each", "ensure_table", "insert_only", "returning"}
    assert offered["for_each"]["documentation"] == "One row for each element, called item; all or none."


def test_type_offers_the_types_of_connection(editor: LanguageServer) -> None:
    offered = editor.completions(CONFIG, changed("type: database", f"type: {MARK}"))
    assert {"database", "smtp", "http", "slack"} <= set(offered)


def test_events_offers_stripes_types(editor: LanguageServer) -> None:
    offered = editor.completions(CONFIG, changed("[checkout.session.completed, ", f"[{MARK}, "))
    assert {"checkout.session.completed", "invoice.paid", "customer.subscription.deleted"} <= set(offered)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  max_body", f"  max{MARK}_body", ["#### size", "Larger requests are refused with 413.", "Default: `1MiB`"]),
        ("uses: slack", f"uses: sl{MARK}ack", ["* `slack`: Posts a message by an incoming webhook"]),
        ("table: orders", f"ta{MARK}ble: orders", ["The table, or schema.table."]),
        ("concurrency: 8", f"concu{MARK}rrency: 8", ["At most so many attempts at once,", "Default: `8`"]),
        ("    if: obj", f"    i{MARK}f: obj", ["#### expression", "Judged when the event arrives"]),
    ],
)
def test_hover_explains(editor: LanguageServer, old: str, new: str, words: list[str]) -> None:
    shown = editor.hover(CONFIG, changed(old, new))
    assert [word for word in words if word not in shown] == [], shown


def test_a_file_that_is_included_has_a_schema_of_its_own(editor: LanguageServer) -> None:
    modeline = "# yaml-language-server: $schema=config/schema/included.schema.json\n"
    route = (
        "routes:\n  ship:\n    events: [invoice.paid]\n    actions:\n      tell: {uses: slack, with: {connection: s}}\n"
    )
    assert editor.diagnostics(CONFIG, modeline + route) == []
    marked = editor.diagnostics(CONFIG, f"{modeline}server: {{}}\n{route}")
    assert [one["message"] for one in marked] == ["Property server is not allowed."]
