"""A mail's headers, domains and attachments as they reach a real SMTP server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from actions.email import Email
from gateway.testing import Trial, TrialResult, make_event, problems
from tests.contract.actions.servers import Mailbox

Mail = tuple[Mailbox, dict[str, Any]]
LETTER = {"to": "a@example.com", "subject": "s", "text": "t"}
UNSUBSCRIBE = "<https://acme.example/unsubscribe?token=" + "a1b2c3" * 13 + ">"


async def attempt(
    mail: Mail, folder: Path | str = ".", event: Any = None, steps: Any = None, **more: Any
) -> TrialResult:
    async with Trial(
        Email(), {**LETTER, **more}, connection=mail[1], event=event, steps=steps, base_folder=str(folder)
    ) as trial:
        return await trial.attempt()


# -- headers ----------------------------------------------------------------------------------------------------


async def test_an_identifier_longer_than_a_line_is_sent_as_it_is(mail: Mail) -> None:
    two = f"{UNSUBSCRIBE}, <mailto:leave@acme.example>"
    await attempt(mail, headers={"List-Unsubscribe": two, "References": f"<{'x' * 90}@a.example> <y@a.example>"})
    [wire] = mail[0].wire
    assert f"List-Unsubscribe: {UNSUBSCRIBE},\r\n <mailto:leave@acme.example>\r\n".encode() in wire
    assert f"References: <{'x' * 90}@a.example>\r\n <y@a.example>\r\n".encode() in wire
    assert b"=?" not in wire
    assert mail[0].mails[0]["List-Unsubscribe"] == two


async def test_a_header_beyond_ascii_or_beyond_the_longest_line_is_encoded(mail: Mail) -> None:
    await attempt(mail, headers={"X-Greeting": "Grüße", "X-Long": "a" * 1000})
    [message] = mail[0].mails
    assert (message["X-Greeting"], message["X-Long"]) == ("Grüße", "a" * 1000)
    assert max(map(len, mail[0].wire[0].splitlines())) <= 998
    assert b"\r\nX-Long: =?utf-8?q?aa" in mail[0].wire[0]


# -- language ---------------------------------------------------------------------------------------------------

SPOKEN = """\
{{ object.total | money('eur') }}, {{ 4500 | money('usd') }}, {{ object.created | date('long') }}, \
{{ object.created | datetime('%A %d. %B, 100%%B') }}, {{ object.total | money('eur', 'en_US') }}"""


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("de-DE", "1.234,56 €, 45,00 $, 14. November 2023, Dienstag 14. November, 100%B, €1,234.56"),
        ("fr", "1\u202f234,56 €, 45,00 $US, 14 novembre 2023, mardi 14. novembre, 100%B, €1,234.56"),
        (None, "€1,234.56, $45.00, November 14, 2023, Tuesday 14. November, 100%B, €1,234.56"),
        ("auto", "€1,234.56, $45.00, November 14, 2023, Tuesday 14. November, 100%B, €1,234.56"),
        ("tlh", "€1,234.56, $45.00, November 14, 2023, Tuesday 14. November, 100%B, €1,234.56"),
    ],
)
async def test_money_and_dates_are_written_for_the_mails_locale(mail: Mail, locale: str | None, text: str) -> None:
    event = make_event(object={"total": 123456, "created": 1700000000, "locale": locale})
    ended = await attempt(
        mail, event=event, locale="{{ object.locale }}", text=SPOKEN, subject="{{ 1 | money('eur') }}"
    )
    assert ended.state == "succeeded"
    [message] = mail[0].mails
    assert message.get_content().strip().replace("\xa0", " ") == text
    await attempt(mail, event=event, text=SPOKEN)  # the next mail says none
    assert mail[0].mails[1].get_content().startswith("€1,234.56, $45.00, November 14")


# -- domains ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "sent_to"),
    [
        ("kunde@straße.example", "kunde@xn--strae-oqa.example"),
        ("kunde@BÜCHER.example", "kunde@xn--bcher-kva.example"),
        ("kunde@xn--strae-oqa.example", "kunde@xn--strae-oqa.example"),
    ],
)
async def test_a_domain_beyond_ascii_is_read_by_idna_of_2008(mail: Mail, to: str, sent_to: str) -> None:
    ended = await attempt(mail, to=to)
    assert (ended.state, mail[0].recipients) == ("succeeded", [sent_to])


@pytest.mark.parametrize("to", ["kunde@☃.example", "kunde@a_b.straße.example", f"kunde@{'ü' * 70}.example"])
async def test_a_domain_that_idna_refuses_is_no_mail_address(mail: Mail, to: str) -> None:
    ended = await attempt(mail, to="{{ object.to }}", event=make_event(object={"to": to}))
    assert (ended.state, ended.error) == ("dead", f"to: {to!r} is no mail address")
    assert mail[0].mails == []


# -- attachments ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of gateway.yaml, with what nobody may be sent."""
    (tmp_path / "config/invoices").mkdir(parents=True)
    (tmp_path / "config/terms.pdf").write_text("the terms")
    (tmp_path / "config/invoices/in_1.pdf").write_text("an invoice")
    (tmp_path / "gateway.yaml").write_text("version: 1")
    (tmp_path / "outside.pdf").write_text("the inbox")
    return tmp_path


def attached(path: str) -> dict[str, Any]:
    return {"attachments": [{"filename": "it.pdf", "path": path, "content_type": "application/pdf"}]}


def contents(mail: Mail) -> list[bytes]:
    return [part.get_content() for message in mail[0].mails for part in message.iter_attachments()]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("config/terms.pdf", b"the terms"),
        ("config/invoices/{{ object.id }}.pdf", b"an invoice"),
        ("config/{{ object.folder }}/in_1.pdf", b"an invoice"),
    ],
)
async def test_a_file_is_attached_from_the_folder_that_is_written(
    mail: Mail, folder: Path, path: str, content: bytes
) -> None:
    event = make_event(object={"id": "in_1", "folder": "invoices"})
    ended = await attempt(mail, folder, event, **attached(path))
    assert (ended.state, contents(mail)) == ("succeeded", [content])


@pytest.mark.parametrize("name", ["../../gateway.yaml", "../terms.pdf", "../invoices/../../gateway.yaml", "link", "."])
async def test_what_an_event_brings_does_not_leave_the_folder_before_it(mail: Mail, folder: Path, name: str) -> None:
    os.symlink(folder / "gateway.yaml", folder / "config/invoices/link")
    event = make_event(object={"id": name})
    ended = await attempt(mail, folder, event, **attached("config/invoices/{{ object.id }}"))
    assert (ended.state, ended.error) == ("dead", "attachment 'it.pdf': its path leaves config/invoices")
    assert mail[0].mails == []


async def test_an_absolute_path_and_a_folder_that_links_out_are_refused(mail: Mail, folder: Path) -> None:
    os.symlink(folder, folder / "config/all")
    event = make_event(object={"id": "gateway.yaml", "absolute": str(folder / "gateway.yaml")})
    ended = await attempt(mail, folder, event, **attached("config/all/{{ object.id }}"))
    assert ended.error == "attachment 'it.pdf': its path leaves config/all"
    ended = await attempt(mail, folder, event, **attached(str(folder.parent / "{{ object.id }}")))
    assert (ended.error or "").startswith("attachment 'it.pdf': its path leaves ")
    ended = await attempt(mail, folder, make_event(object={"id": "a\0b"}), **attached("config/{{ object.id }}"))
    assert ended.error == "attachment 'it.pdf': its path is none: it holds a NUL"
    assert mail[0].mails == []


@pytest.mark.parametrize(
    "path", ["{{ object.id }}", "./{{ object.id }}", "config/../{{ object.id }}", "/{{ object.id }}"]
)
def test_a_path_that_begins_with_a_template_is_refused_at_check(mail: Mail, path: str) -> None:
    told = f"the path {path!r} begins with a template: write a folder before it, which it stays in"
    [problem] = problems(Email(), {**LETTER, **attached(path)}, connection=mail[1])
    assert problem == f"routes.trial.actions.email.with: {told}"


@pytest.mark.parametrize("written", ["{{ steps.files.output.all }}", ["{{ steps.files.output.all[0] }}"]])
async def test_attachments_that_a_template_brings_whole_name_no_file(mail: Mail, folder: Path, written: Any) -> None:
    steps: dict[str, Any] = {"files": {"all": [{"filename": "a.txt", "content": "fine"}]}}
    ended = await attempt(mail, folder, steps=steps, attachments=written)
    assert (ended.state, contents(mail)) == ("succeeded", [b"fine"])
    steps["files"]["all"] = [{"filename": "a.txt", "path": "gateway.yaml"}]
    ended = await attempt(mail, folder, steps=steps, attachments=written)
    assert ended.state == "dead"
    assert "begins with a template: write a folder before it" in (ended.error or "")
    assert len(mail[0].mails) == 1
