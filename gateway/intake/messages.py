"""What the public listener is asked and answers: small frozen records, whole in memory because they are bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Head:
    """The first part of a request: all that is known before its body."""

    method: str
    path: str  # as sent, without the query; nothing is decoded
    headers: Headers = field(repr=False)
    peer: str = ""  # the address of the other end

    def header(self, name: bytes) -> str | None:
        """The value of a header, named in small letters. None where it is missing. Where it was sent several times the
        values are joined with commas, as RFC 9110 (section 5.3) reads them.
        """
        found = [value for key, value in self.headers if len(key) == len(name) and key.lower() == name]
        return b",".join(found).decode("latin-1") if found else None


@dataclass(frozen=True, slots=True)
class Request:
    """One request, whole."""

    head: Head
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, always JSON."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    start: bytes = field(init=False, repr=False)  # status line and headers as sent, but for the date

    def __post_init__(self) -> None:
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"Content-Length: {len(self.body)}\r\n")
        object.__setattr__(self, "start", "\r\n".join(lines).encode("latin-1"))


def error(status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """The answer to what is refused; it tells an attacker nothing."""
    return Response(status, f'{{"error": {{"code": "{code}", "message": "{message}"}}}}'.encode(), headers)


UNAVAILABLE = error(503, "unavailable", "Try again later.", (("Retry-After", "5"),))
"""For whatever passes by itself: the store cannot commit, too much waits, too many are connected."""
