"""Attachments that are fetched for a mail: from the hosts that are named, to a bound, as what they are."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from actions.email import Email
from actions.mail_attachments import Attachment
from actions.mail_downloads import Downloads
from gateway.plugin import DownloadSettings, Reject
from gateway.testing import Trial, TrialResult, make_event
from tests.contract.actions.servers import Mailbox, Service

Mail = tuple[Mailbox, dict[str, Any]]
PDF = b"%PDF-1.7 an invoice"


async def attempt(
    mail: Mail, url: str, downloads: dict[str, Any] | None = None, *, dry: bool = False, **more: Any
) -> TrialResult:
    downloads = {"hosts": ["127.0.0.1"], "allow_private": ["127.0.0.0/8"], **(downloads or {})}
    written = {
        "to": "a@b.example", "subject": "s", "text": "t",
        "attachments": [{"filename": "invoice.pdf", "url": "{{ object.invoice_pdf }}", **more}],
    }  # fmt: skip
    connection = {**mail[1], "downloads": downloads}
    event = make_event(object={"invoice_pdf": url})
    async with Trial(Email(), written, connection=connection, event=event) as trial:
        return await (trial.rehearse() if dry else trial.attempt())


def file_of(mail: Mail) -> tuple[str, bytes]:
    [message] = mail[0].mails
    [part] = message.iter_attachments()
    return part.get_content_type(), part.get_payload(decode=True)  # type: ignore[return-value]  # bytes: it is no multipart


def answer_with(service: Service, body: bytes, kind: str = "application/pdf") -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body, content_type=kind)

    service.answer = answer


async def test_a_file_is_fetched_and_keeps_its_type(mail: Mail, service: Service) -> None:
    answer_with(service, PDF)
    ended = await attempt(mail, service.url)
    assert (ended.state, file_of(mail)) == ("succeeded", ("application/pdf", PDF))


async def test_a_redirect_is_followed_within_the_hosts(mail: Mail, service: Service) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/file":
            return web.Response(body=PDF, content_type="application/pdf")
        raise web.HTTPFound("/file")

    service.answer = answer
    assert (await attempt(mail, service.url)).state == "succeeded"
    assert file_of(mail) == ("application/pdf", PDF)
    service.say(302, Location="https://elsewhere.example/x")
    ended = await attempt(mail, service.url)
    assert (ended.state, ended.error) == (
        "dead",
        "attachment 'invoice.pdf': nothing is fetched from elsewhere.example: name it among the connection's "
        "downloads.hosts, if it is meant",
    )
    service.say(302, Location=service.url)
    assert (await attempt(mail, service.url)).error == "attachment 'invoice.pdf': more than 3 redirects"


@pytest.mark.parametrize(
    ("url", "downloads", "told"),
    [
        ("https://127.0.0.2/x", {},
         "nothing is fetched from 127.0.0.2: name it among the connection's downloads.hosts, if it is meant"),
        ("ftp://127.0.0.1/x", {}, "the url is no https:// URL: write https://..."),
        ("http://127.0.0.1/x", {"allow_private": False}, "the url is no https:// URL: write https://..."),
        ("https://me:pw@127.0.0.1/x", {}, "the url holds a login: give one without"),
        ("https://[::1/x", {}, "the url is none: write https://..."),
        ("https://127.0.0.1:1/x", {"allow_private": False},
         "127.0.0.1 is a private address; say allow_private: true, or list its network, if it is meant"),
        ("https://169.254.169.254/x", {"hosts": ["169.254.169.254"], "allow_private": True},
         "169.254.169.254 is a link-local or cloud metadata address, which is never reached"),
    ],
)  # fmt: skip
async def test_what_may_not_be_fetched_is_dead_and_nobody_is_sent_to(
    mail: Mail, url: str, downloads: dict[str, Any], told: str
) -> None:
    ended = await attempt(mail, url, downloads)
    assert (ended.state, ended.error) == ("dead", f"attachment 'invoice.pdf': {told}")
    assert mail[0].mails == []


async def test_a_file_over_the_bound_is_dead(mail: Mail, service: Service) -> None:
    answer_with(service, b"x" * 2000)
    ended = await attempt(mail, service.url, {"max_size": "1KiB"})
    told = "attachment 'invoice.pdf': larger than 1024 bytes (downloads.max_size of the connection)"
    assert (ended.state, ended.error, mail[0].mails) == ("dead", told, [])


async def test_a_page_in_the_place_of_the_file_is_not_sent(mail: Mail, service: Service) -> None:
    answer_with(service, b"<html>log in</html>", "text/html")
    ended = await attempt(mail, service.url, content_type="application/pdf")
    assert (ended.state, ended.error) == (
        "dead",
        "attachment 'invoice.pdf': its host sent text/html, not application/pdf",
    )
    answer_with(service, PDF, "application/octet-stream")
    assert (await attempt(mail, service.url, content_type="application/pdf")).state == "succeeded"
    assert file_of(mail) == ("application/pdf", PDF)


@pytest.mark.parametrize(("status", "state"), [(500, "pending"), (429, "pending"), (403, "dead"), (204, "dead")])
async def test_what_the_files_host_answers_is_told_apart(mail: Mail, service: Service, status: int, state: str) -> None:
    service.say(status)
    ended = await attempt(mail, service.url)
    assert (ended.state, ended.error) == (state, f"attachment 'invoice.pdf': its host answered {status}")
    assert not ended.is_connection_failure


async def test_a_files_host_that_is_away_does_not_pause_the_mail_server(mail: Mail) -> None:
    ended = await attempt(mail, "http://127.0.0.1:1/x")
    assert (ended.state, ended.is_connection_failure) == ("pending", False)
    assert (ended.error or "").startswith("attachment 'invoice.pdf': its host is not reached: ")


async def test_a_dry_run_fetches_nothing_and_still_refuses(mail: Mail, service: Service) -> None:
    assert (await attempt(mail, service.url, dry=True)).state == "skipped"
    assert service.requests == []
    refused = await attempt(mail, "https://127.0.0.2/x", dry=True)
    assert "it would be a dead letter: attachment 'invoice.pdf': nothing is fetched from 127.0.0.2" in str(
        refused.error
    )


async def test_in_gateway_dev_nothing_is_fetched_the_attachment_says_so_and_other_hosts_are_refused() -> None:
    files = Downloads(DownloadSettings(hosts=["files.example"]).stood_in())
    (file,) = (await files.files([Attachment(filename="invoice.pdf", url="https://files.example/a")])).values()
    text = b"gateway dev fetches nothing: here would be the file from https://files.example/a\n"
    assert (file.name, file.data) == ("invoice.pdf.txt", text)
    with pytest.raises(Reject, match=r"nothing is fetched from elsewhere\.example"):
        await files.files([Attachment(filename="invoice.pdf", url="https://elsewhere.example/a")])
