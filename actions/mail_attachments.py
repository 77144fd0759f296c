"""The files of a mail: what `with` may name, and that none is read from outside of its folder."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo

from gateway.plugin import DownloadSettings, Fault, Reject, Unrendered, quoted

MEDIA_TYPE = re.compile(r"[a-z]+/[A-Za-z0-9.+-]+")
UNKNOWN_TYPE = "application/octet-stream"
NOWHERE = ("the connection says nowhere to fetch from", "name the host there: downloads: {hosts: [pay.stripe.com]}")
_TEMPLATE = re.compile(r"\{[{%#]")


class Attachment(BaseModel):
    """One attached file."""

    model_config = ConfigDict(extra="forbid")

    filename: str = Field(description="The name that the reader sees.", examples=["receipt.txt"])
    content: str | None = Field(None, description="The file as text.", examples=["Order {{ object.id }}"])
    base64: str | None = Field(None, description="The file in base64.", examples=["T3JkZXI="])
    path: str | None = Field(
        None,
        description="A file below the folder of gateway.yaml; of a template, below the folder written before it.",
        examples=["config/terms.pdf"],
    )
    url: str | None = Field(
        None,
        description="An https:// URL to fetch it from, at one of the hosts of the connection's `downloads`.",
        examples=["{{ object.invoice_pdf }}"],
    )
    content_type: str | None = Field(
        None,
        description="Its media type. Left out: of a url the one that it is sent with, else application/octet-stream.",
        examples=["text/plain"],
    )
    _folder: str = PrivateAttr("")  # that the file must lie below, from the folder of gateway.yaml


def stay_in_folders(attachments: list[Attachment], info: ValidationInfo) -> list[Attachment]:
    """Each path that a template made gets the folder that is written before the template."""
    written = (info.context or {}).get("written", {}).get("attachments", ())
    for place, attachment in enumerate(attachments):
        if attachment.path is not None:
            whole: Any = written if isinstance(written, Unrendered) else next(iter(written[place : place + 1]), {})
            path = whole if isinstance(whole, Unrendered) else whole.get("path")
            attachment._folder = _folder_of(path.source) if isinstance(path, Unrendered) else ""
    return attachments


def path_faults(written: Any) -> Iterable[str]:
    """What is wrong with the paths of attachments as they are written."""
    for attachment in written if isinstance(written, list) else ():
        path = attachment.get("path") if isinstance(attachment, Mapping) else None
        if isinstance(path, str) and _TEMPLATE.search(path):
            try:
                _folder_of(path)
            except ValueError as error:
                yield str(error)


def _folder_of(source: str) -> str:
    """The folder that is written before the first template of a path. Raises ValueError where there is none."""
    folder = _TEMPLATE.split(source, maxsplit=1)[0].rpartition("/")[0]
    parts = PurePath(folder).parts
    if not parts or ".." in parts:
        raise ValueError(
            f"the path {quoted(source, 80)!r} begins with a template: write a folder before it, which it stays in"
        )
    return folder


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is attached."""

    name: str
    content_type: str
    data: bytes


def attach(message: EmailMessage, file: File) -> None:
    """Adds a file."""
    kind, _, subtype = file.content_type.partition("/")
    message.add_attachment(file.data, maintype=kind, subtype=subtype, filename=" ".join(file.name.split()))


def files_of(
    attachments: Sequence[Attachment],
    base_folder: str,
    downloads: DownloadSettings | None,
    fetched: Mapping[int, File] | None,
) -> Iterator[File]:
    """The files of a mail. Those of a url are `fetched`, by position; None leaves them out. Raises Reject."""
    for place, attachment in enumerate(attachments):
        if (fault := _fault_of(_sources(attachment.model_dump()), attachment.content_type)) is not None:
            raise Reject(f"attachment {quoted(attachment.filename, 60)!r}: {fault}")
        if attachment.url is not None:
            if (refused := url_fault(attachment.url, downloads)) is not None:
                raise Reject(f"attachment {quoted(attachment.filename, 60)!r}: {refused[0]}: {refused[1]}")
            if fetched is not None:
                yield fetched[place]
            continue
        if attachment.content is not None:
            data = attachment.content.encode()
        elif attachment.base64 is not None:
            data = _decoded(attachment.base64)
        else:
            data = _read(attachment, Path(base_folder))
        yield File(attachment.filename, attachment.content_type or UNKNOWN_TYPE, data)


def attachment_faults(written: Any, downloads: DownloadSettings | None, is_sound: bool) -> Iterator[Fault]:
    """Files that can never be attached, as they are written; `is_sound`: the connection is, so that `downloads` are
    known.
    """
    for place, attachment in enumerate(written if isinstance(written, list) else ()):
        if not isinstance(attachment, Mapping):
            continue
        at, url, kind = ("attachments", place), attachment.get("url"), attachment.get("content_type")
        sources = _sources(attachment)
        constants = {name: value for name, value in sources.items() if not isinstance(value, Unrendered)}
        known = constants or dict(list(sources.items())[:1])  # a template may bring null, and so leave another one
        if (fault := _fault_of(known, kind if isinstance(kind, str) else None)) is not None:
            yield Fault(at, fault)
        path = constants.get("path")
        if isinstance(path, str) and (PurePath(path).is_absolute() or ".." in PurePath(path).parts):
            yield Fault((*at, "path"), "the path leaves the folder of gateway.yaml", "put the file below it")
        if url is not None and is_sound:
            refused = url_fault(url, downloads) if isinstance(url, str) else None if downloads else NOWHERE
            if refused is not None:
                yield Fault((*at, "url"), *refused)


def _sources(attachment: Mapping[str, Any]) -> dict[str, Any]:
    """Where an attachment says that its content is."""
    names = ("content", "base64", "path", "url")
    return {name: attachment[name] for name in names if attachment.get(name) is not None}


def _fault_of(sources: Mapping[str, Any], content_type: str | None) -> str | None:
    """What is wrong with an attachment as far as it is known."""
    if len(sources) != 1:
        return "give exactly one of content, base64, path, url"
    if content_type is not None and not MEDIA_TYPE.fullmatch(content_type):
        return "content_type is not like text/plain"
    try:
        if isinstance(text := sources.get("base64"), str):
            _decoded(text)
    except ValueError:
        return "not base64"
    return None


def _decoded(text: str) -> bytes:
    """The bytes of base64, which may be broken into lines. Raises ValueError."""
    return base64.b64decode("".join(text.split()), validate=True)


def url_fault(url: str, downloads: DownloadSettings | None) -> tuple[str, str] | None:
    """Why a URL may not be fetched, and what would mend it; None where it may."""
    if downloads is None:
        return NOWHERE
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "the url is none", "write https://..."
    if not host or parts.scheme not in (("https", "http") if downloads.allow_private else ("https",)):
        return "the url is no https:// URL", "write https://..."
    if parts.username is not None:
        return "the url holds a login", "give one without"
    if host not in downloads.hosts:
        return (
            f"nothing is fetched from {quoted(host, 100)}",
            "name it among the connection's downloads.hosts, if it is meant",
        )
    return None


def _read(attachment: Attachment, base: Path) -> bytes:
    """The file, which links do not lead out of its folder either. Raises Reject."""
    name = f"attachment {quoted(attachment.filename, 60)!r}"
    try:
        base = base.resolve()
        file, folder = (base / str(attachment.path)).resolve(), (base / attachment._folder).resolve()
        if folder not in file.parents or (base not in folder.parents if attachment._folder else folder != base):
            raise Reject(f"{name}: its path leaves {attachment._folder or 'the folder of gateway.yaml'}")
        return file.read_bytes()
    except OSError as error:
        raise Reject(f"{name}: {error.strerror}") from None
    except ValueError:
        raise Reject(f"{name}: its path is none: it holds a NUL") from None
