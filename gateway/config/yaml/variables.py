"""`${NAME}`, `${NAME:-default}` and `${file:/path}` in the values of gateway.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config.secrets.names import SECRET_VARIABLE

VARIABLE = re.compile(r"\$(\$)?\{([^{}]*)\}")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Unfilled:
    """What a variable lacks. `is_unset`: all is right but that its value is not there."""

    message: str
    hint: str | None
    is_unset: bool


@dataclass(frozen=True, slots=True)
class Brought:
    """A value that came from outside."""

    value: str
    written: str  # such as ${NAME}
    is_secret: bool  # it is a file's, or its name says so


@dataclass(frozen=True, slots=True)
class Filled:
    """A scalar's text with its variables filled in."""

    text: str
    stretches: tuple[tuple[int, int, int, int], ...]  # of the written text, and what became of it in `text`
    brought: tuple[Brought, ...]  # what came from the environment or from files
    complaints: tuple[tuple[int, int, Unfilled], ...]  # with their place in the written text


class Variables:
    """Fills in. `on_value` is told everything that came from outside; `on_file` of each file, there or not."""

    def __init__(
        self,
        environ: Mapping[str, str],
        folder: Path,
        on_value: Callable[[bytes], None],
        on_file: Callable[[Path], None],
    ) -> None:
        self._environ = environ
        self._folder = folder
        self._on_value = on_value
        self._on_file = on_file

    def fill(self, written: str) -> Filled:
        """Raises nothing: what is not there becomes an empty text and a complaint."""
        parts: list[str] = []
        stretches = []
        brought = []
        complaints = []
        length = done = 0
        for match in VARIABLE.finditer(written):
            parts.append(written[done : match.start()])
            length += match.start() - done
            done = match.end()
            if match[1]:
                value: str | Unfilled = "${" + match[2] + "}"
            elif match[2].startswith("file:"):
                value = self._file(match[2].removeprefix("file:"))
                brought += [Brought(value, match[0], True)] if isinstance(value, str) else []
            else:
                value, is_given = self._named(match[2])
                name = match[2].partition(":-")[0]
                is_secret = SECRET_VARIABLE.search(name) is not None
                if isinstance(value, str) and (is_given or is_secret):
                    brought.append(Brought(value, f"${{{name}}}", is_secret))
            if isinstance(value, Unfilled):
                complaints.append((match.start(), match.end(), value))
                value = ""
            stretches.append((match.start(), match.end(), length, length + len(value)))
            parts.append(value)
            length += len(value)
        parts.append(written[done:])
        return Filled("".join(parts), tuple(stretches), tuple(brought), tuple(complaints))

    def _named(self, inner: str) -> tuple[str | Unfilled, bool]:
        """The value, and whether the environment gave it."""
        named = _NAME.fullmatch(inner)
        if named is None:
            message = f"${{{inner}}} is no variable"
            return Unfilled(message, "write ${NAME}, ${NAME:-default}, ${file:/path} or $${", False), False
        name, default = named[1], named[2]
        value = None if default is not None and name not in self._environ else self._environ.get(name)
        is_given = value is not None and not (value == "" and default is not None)
        if value is None and default is None:
            hint = f"set it, or give a default: ${{{name}:-...}}"
            return Unfilled(f"the environment variable {name} is not set", hint, True), False
        filled = value if is_given and value is not None else default or ""
        self._on_value(filled.encode(errors="surrogateescape"))
        return filled, is_given

    def _file(self, name: str) -> str | Unfilled:
        stand_in = self._environ.get(f"file:{name}")  # a test's own
        if stand_in is not None:
            self._on_value(stand_in.encode(errors="surrogateescape"))
            return stand_in
        file = Path(name)
        path = file if file.is_absolute() else self._folder / file
        self._on_file(path)
        try:
            content = path.read_bytes()
            text = content.decode().removesuffix("\n").removesuffix("\r")  # as written on any system
        except UnicodeDecodeError:
            return Unfilled(f"the secret file {file} is not text", None, True)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the path is not one"
            return Unfilled(f"cannot read the secret file {file}: {reason}", None, True)
        self._on_value(content)
        return text
