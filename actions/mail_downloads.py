"""Attachments that are fetched when the mail is sent: from hosts that the connection names, and to a bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from actions.mail_attachments import MEDIA_TYPE, UNKNOWN_TYPE, Attachment, File, url_fault
from gateway.plugin import DownloadSettings, Reject, Retry, guarded_session, quoted, refusal, retry_after_seconds

if TYPE_CHECKING:  # takes long to import: `gateway check` does without
    import aiohttp

_MOST_REDIRECTS = 3
_RETRIED = frozenset((408, 409, 425, 429))
_UNTYPED = frozenset(("", UNKNOWN_TYPE, "binary/octet-stream"))


class Downloads:
    """One session for the mails of a connection, opened with the first file."""

    def __init__(self, settings: DownloadSettings | None) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Ends its connections."""
        if self._session is not None:
            await self._session.close()

    async def files(self, attachments: Sequence[Attachment]) -> Mapping[int, File]:
        """Those of a url, by position. Raises Retry and Reject."""
        return {
            place: await self._file(attachment)
            for place, attachment in enumerate(attachments)
            if attachment.url is not None
        }

    async def _file(self, attachment: Attachment) -> File:
        import aiohttp

        name, url = f"attachment {quoted(attachment.filename, 60)!r}", str(attachment.url)
        assert self._settings is not None  # else the mail was refused before
        if self._settings.is_stood_in:
            return _stand_in(attachment, name, self._settings)
        if self._session is None:
            self._session = guarded_session(allow_private=self._settings.allow_private, limit=4)
        for _ in range(1 + _MOST_REDIRECTS):
            if (refused := url_fault(url, self._settings)) is not None:
                raise Reject(f"{name}: {refused[0]}: {refused[1]}")
            try:
                async with self._session.get(url, allow_redirects=False) as answer:
                    if answer.status in (301, 302, 303, 307, 308) and "Location" in answer.headers:
                        url = urljoin(url, answer.headers["Location"])
                        continue
                    return await _taken(answer, attachment, name, self._settings.max_size)
            except aiohttp.ClientConnectorError as error:
                if (reason := refusal(error.os_error)) is not None:
                    raise Reject(f"{name}: {reason}") from None
                raise Retry(f"{name}: its host is not reached: {error.os_error}", of_connection=False) from None
            except aiohttp.InvalidURL:
                raise Reject(f"{name}: the url is none") from None
            except (aiohttp.ClientError, OSError) as error:
                text = str(error) or type(error).__name__
                raise Retry(f"{name}: its host broke off: {quoted(text, 200)}", of_connection=False) from None
        raise Reject(f"{name}: more than {_MOST_REDIRECTS} redirects")


def _stand_in(attachment: Attachment, name: str, settings: DownloadSettings) -> File:
    """What is attached where nothing is to be fetched. Raises Reject where nothing would be."""
    url = str(attachment.url)
    if (refused := url_fault(url, settings)) is not None:
        raise Reject(f"{name}: {refused[0]}: {refused[1]}")
    text = f"gateway dev fetches nothing: here would be the file from {url}\n"
    return File(f"{attachment.filename}.txt", "text/plain", text.encode())


async def _taken(answer: aiohttp.ClientResponse, attachment: Attachment, name: str, max_size: int) -> File:
    """The file that an answer holds. Raises Retry and Reject."""
    if answer.status >= 500 or answer.status in _RETRIED:
        after = retry_after_seconds(answer.headers.get("Retry-After"), datetime.now(UTC))
        raise Retry(f"{name}: its host answered {answer.status}", after_seconds=after, of_connection=False)
    if answer.status != 200:
        raise Reject(f"{name}: its host answered {answer.status}")
    sent_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    wanted = attachment.content_type
    if wanted is not None and sent_type not in (wanted.lower(), *_UNTYPED):
        raise Reject(f"{name}: its host sent {quoted(sent_type, 60)}, not {wanted}")
    data = bytearray()
    async for chunk in answer.content.iter_any():
        data += chunk
        if len(data) > max_size:
            raise Reject(f"{name}: larger than {max_size} bytes (downloads.max_size of the connection)")
    kind = wanted or (sent_type if MEDIA_TYPE.fullmatch(sent_type) else UNKNOWN_TYPE)
    return File(attachment.filename, kind, bytes(data))
