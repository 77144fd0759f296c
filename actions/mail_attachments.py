"""The files of a mail: what `with` may name, and that none is read from outside of its folder."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from email.message import EmailMessage
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo

from gateway.plugin import Reject, Unrendered

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
    content_type: str = Field("application/octet-stream", description="Its media type.", examples=["text/plain"])
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
            f"the path {source[:80]!r} begins with a template: write a folder before it, which it stays in"
        )
    return folder


def attach(message: EmailMessage, attachment: Attachment, base: Path) -> None:
    """Adds a file. Raises Reject where it cannot be had."""
    sources = [attachment.content, attachment.base64, attachment.path]
    if sum(source is not None for source in sources) != 1:
        raise Reject(f"attachment {attachment.filename[:60]!r}: give exactly one of content, base64, path")
    if attachment.content is not None:
        data = attachment.content.encode()
    elif attachment.base64 is not None:
        try:
            data = base64.b64decode(attachment.base64, validate=True)
        except (binascii.Error, ValueError):
            raise Reject(f"attachment {attachment.filename[:60]!r}: not base64") from None
    else:
        data = _read(attachment, base)
    kind, _, subtype = attachment.content_type.partition("/")
    if not re.fullmatch(r"[a-z]+/[A-Za-z0-9.+-]+", attachment.content_type):
        raise Reject(f"attachment {attachment.filename[:60]!r}: content_type is not like text/plain")
    name = " ".join(attachment.filename.split())
    message.add_attachment(data, maintype=kind, subtype=subtype, filename=name)


def _read(attachment: Attachment, base: Path) -> bytes:
    """The file, which links do not lead out of its folder either. Raises Reject."""
    name = f"attachment {attachment.filename[:60]!r}"
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
