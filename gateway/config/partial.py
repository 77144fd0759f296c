"""Single settings, for commands that need no more of gateway.yaml: whatever else is wrong or unset does not matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from gateway.config.diagnostics.problem import ConfigError
from gateway.config.schema.server import ReloadSettings, ServerSettings
from gateway.config.schema.store import StoreSettings
from gateway.config.secrets.masking import secrets_of
from gateway.config.yaml.document import Source
from gateway.core.errors import UsageError
from gateway.core.masking import Masker
from gateway.core.url_credentials import with_password
from gateway.privacy.redaction import RedactedPath, parse_path
from gateway.privacy.views import Redactions


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is, and what opens what is sealed in it."""

    folder: Path  # where relative paths start
    url: str
    keys: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    compresses: bool = True


def load_store_address(path: Path, environ: Mapping[str, str]) -> StoreAddress:
    """`store.url` with `store.password`, `store.encrypt` and `store.compress`. Raises ConfigError."""
    source = _read_partly(path, environ)
    section = source.section("store")
    url, password, keys = section.get("url"), section.get("password"), section.get("encrypt")
    return StoreAddress(
        source.folder,
        with_password(url, password if isinstance(password, str) else "")
        if isinstance(url, str)
        else StoreSettings().address(),
        tuple(key for key in (keys if isinstance(keys, list) else [keys]) if isinstance(key, str) and key),
        _compresses(section.get("compress")),
    )


def _compresses(value: object) -> bool:
    """`store.compress` as the gateway reads it, of a variable's text too; what is none is the gateway's to refuse."""
    try:
        return StoreSettings.model_validate({"compress": value}).compress
    except ValidationError:
        return True


def load_redactions(path: Path, environ: Mapping[str, str]) -> Redactions:
    """What nobody is shown. Raises ConfigError, UsageError (a path that is none: nobody may see what it hides)."""
    redactions: dict[str, tuple[RedactedPath, ...]] = {}
    source = _read_partly(path, environ)
    for name, account in source.section("accounts").items():
        listed = account.get("redact") if isinstance(account, dict) else None
        try:
            redactions[str(name)] = tuple(
                parse_path(str(path)) for path in (listed if isinstance(listed, list) else ())
            )
        except ValueError as error:
            raise UsageError(f"accounts.{name}.redact: {error}; see `gateway check`") from None
        if listed is not None and not isinstance(listed, list):
            raise UsageError(f"accounts.{name}.redact: expected a list; see `gateway check`")
    return Redactions(redactions, Masker(secrets_of((), source.secrets())))


def load_control_socket(path: Path, environ: Mapping[str, str]) -> Path:
    """Where the gateway of this configuration listens for commands. Raises ConfigError."""
    folder, socket = _one_setting(path, environ, "reload", "socket")
    return folder / (socket or ReloadSettings().socket)


def load_stripe_ips(path: Path, environ: Mapping[str, str]) -> Path:
    """The file that `server.stripe_ips` names. Raises ConfigError."""
    folder, name = _one_setting(path, environ, "server", "stripe_ips")
    return folder / (name or ServerSettings().stripe_ips)


def _one_setting(path: Path, environ: Mapping[str, str], section: str, key: str) -> tuple[Path, str | None]:
    """The folder of gateway.yaml and one text in it, or None where there is no such text."""
    source = _read_partly(path, environ)
    value = source.section(section).get(key)
    return source.folder, value if isinstance(value, str) else None


def _read_partly(path: Path, environ: Mapping[str, str]) -> Source:
    source = Source(path, environ, partial=True)
    if not source.value:
        raise ConfigError(str(path), source.problems)
    return source
