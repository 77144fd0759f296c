"""A case's event: from a file or made up, with some fields changed. The same at every run."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config.yaml.nodes import Path_
from gateway.core.envelope import own_object
from gateway.core.internal_events import is_own
from gateway.core.spelling import did_you_mean
from gateway.testing import UnknownScenarioError, make_event, override, thin_event
from gateway.testing.events import THIN_SCENARIO, related_object, sample_data

CREATED = 1_795_489_200  # 24 November 2026, 03:00 UTC
_CREATED_TEXT = "2026-11-24T03:00:00.000Z"
_OWN = ("file", "type", "as", "object", "previous")
_ENVELOPE = ("id", "account", "api_version", "created", "livemode", "pending_webhooks", "request")
_THIN = ("changes", "context", "reason", "related_object")


class EventMistake(ValueError):  # noqa: N818
    """An event cannot be made as written. `at` leads to what is wrong, from the event on."""

    def __init__(self, at: Path_, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.at = at
        self.message = message
        self.hint = hint


def case_event(written: Any, folder: Path, seed: str, livemode: bool | None) -> dict[str, Any]:
    """The envelope. `seed` makes its ids; `livemode` holds where neither file nor case says. Raises EventMistake."""
    if isinstance(written, str):
        written = {"file": written} if written.endswith(".json") or "/" in written else {"type": written}
    if not isinstance(written, Mapping):
        raise EventMistake((), "expected a file, a type, or a mapping with type or file")
    _check_keys(written)
    if "file" in written:
        if "as" in written:
            raise EventMistake(("as",), "a file is as it is: `as` makes an event of a type")
        event = read_json(written["file"], folder, ("file",))
        if "type" in written:
            event["type"] = written["type"]
    elif isinstance(written.get("type"), str):
        try:
            event = _made(written["type"], written.get("as"), seed, livemode)
        except UnknownScenarioError as error:
            raise EventMistake(("as",), str(error)) from None
    else:
        raise EventMistake((), "is missing type or file")
    if "previous" in written:
        event.setdefault("data", {})["previous_attributes"] = copy.deepcopy(written["previous"])
    changed = written.get("object", {})
    if not isinstance(changed, Mapping):
        raise EventMistake(("object",), "expected a mapping of fields to change")
    data = event.get("data")
    target = data.get("object") if isinstance(data, dict) else None
    if changed and not isinstance(target, dict):
        raise EventMistake(("object",), "this event holds no object; what Stripe would bring goes under fetch")
    _change(target, changed, ("object",))
    _change(event, {key: value for key, value in written.items() if key not in _OWN}, ())
    return event


def case_object(written: Any, folder: Path, event: Mapping[str, Any]) -> dict[str, Any]:
    """The object that Stripe would bring: a file's, or the event's with some fields changed. Raises EventMistake."""
    if isinstance(written, str):
        return read_json(written, folder, ())
    if not isinstance(written, Mapping):
        raise EventMistake((), "expected a file, or a mapping of fields to change")
    fetched = copy.deepcopy(dict(own_object(event)))
    _change(fetched, written, ())
    return fetched


def read_json(name: Any, folder: Path, at: Path_) -> dict[str, Any]:
    """A JSON object from a file, named from the test file's folder. Raises EventMistake."""
    if not isinstance(name, str):
        raise EventMistake(at, "expected the name of a file")
    try:
        value = json.loads((folder / name).read_bytes())
    except OSError as error:
        raise EventMistake(
            at, f"cannot read {name!r}: {error.strerror}", "paths start at the folder of the test file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise EventMistake(at, f"{name!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise EventMistake(at, f"{name!r} holds no JSON object")
    return value


def _check_keys(written: Mapping[str, Any]) -> None:
    known = (*_OWN, *_ENVELOPE, *_THIN)
    for key in written:
        if key.partition(".")[0] not in known:
            hint = did_you_mean(key, known)
            raise EventMistake((key,), f"unknown key {key}", hint or "fields of the object go under object")


def _made(event_type: str, scenario: str | None, seed: str, livemode: bool | None) -> dict[str, Any]:
    """A plausible event of the type, with ids that depend on the seed alone. Raises UnknownScenarioError."""
    digest = hashlib.sha256(f"{seed} {event_type}".encode()).hexdigest()
    own_id, token, is_live = digest[:18], digest[18:34], bool(livemode)
    if event_type.startswith(("v1.", "v2.")):
        if scenario is not None:
            raise UnknownScenarioError(THIN_SCENARIO)
        related = related_object(event_type, now=CREATED, token=token, livemode=is_live)
        thin = thin_event(event_type, created=_CREATED_TEXT, livemode=is_live, related_object=related)
        if "snapshot_event" in thin:
            thin["snapshot_event"] = f"evt_1S{own_id}"
        return {**thin, "id": f"evt_test_{digest[:24]}"}
    event = make_event(event_type, scenario=scenario, id=f"evt_1S{own_id}", created=CREATED, livemode=is_live)
    if is_own(event_type):
        return {**event, "livemode": None}
    return {**event, "data": sample_data(event_type, scenario, now=CREATED, token=token, livemode=is_live)}


def _change(target: Any, changes: Mapping[str, Any], at: Path_) -> None:
    for path, value in changes.items():
        try:
            override(target, path, copy.deepcopy(value), remove=value == {"$absent": True})
        except ValueError as error:
            raise EventMistake((*at, path), str(error)) from None
