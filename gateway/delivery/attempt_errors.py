"""Why an attempt did not succeed: whatever a phase raises, in words and with what is to be done about it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from gateway.core.errors import (
    EnvelopeError,
    StripeApiError,
    StripeKeyRefused,
    StripeUnavailable,
    TemplateError,
    place_of,
)
from gateway.core.fetch_answer import read_answer
from gateway.core.model import ActionUse, Event
from gateway.core.routing import lacks_field, of_another_version
from gateway.plugin import Reject, Retry, Unreached


class AttemptError(Exception):
    """Why an attempt did not succeed, as its phase knows it, and what is to be done about it."""

    def __init__(
        self,
        message: str,
        *,
        is_final: bool = False,  # a dead letter, whatever attempts are left
        after_seconds: float | None = None,  # asked for by the destination, or by Stripe
        pause_seconds: float | None = None,  # of the whole connection
        is_of_connection: bool = False,  # which is paused after several in a row
        is_unreached: bool = False,  # so is that connection, by anybody
    ) -> None:
        super().__init__(message)
        self.message = message
        self.is_final = is_final
        self.after_seconds = after_seconds
        self.pause_seconds = pause_seconds
        self.is_of_connection = is_of_connection
        self.is_unreached = is_unreached


class Phase(StrEnum):
    """How far an attempt has come."""

    PREPARE = "prepare"
    FETCH = "fetch"
    RENDER = "render"
    RUN = "run"  # from here on it may have taken effect


def explained(error: BaseException, phase: Phase, use: ActionUse, why_missing: str) -> AttemptError:
    """What to make of something that was raised in a phase. `why_missing` is added where a field is missing."""
    raised, error, is_running = error, _deciding(error), phase is Phase.RUN
    match error:
        case AttemptError():
            return error
        case TemplateError():
            note = why_missing if lacks_field(error.message) else ""
            return AttemptError(f"{error}{note}", is_final=True)
        case EnvelopeError():
            return AttemptError(str(error), is_final=True)
        case Reject():
            return AttemptError(_text(error.message), is_final=True, pause_seconds=error.pause_seconds)
        case StripeUnavailable():
            return AttemptError(str(error), after_seconds=error.after_seconds)
        case StripeApiError():  # a key that was rolled is mended in gateway.yaml; nothing else passes
            return AttemptError(str(error), is_final=not isinstance(error, StripeKeyRefused))
        case Retry():
            return AttemptError(
                _text(error.message),
                after_seconds=error.after_seconds,
                pause_seconds=error.pause_seconds,
                is_of_connection=is_running and error.of_connection,
                is_unreached=is_running and isinstance(error, Unreached),
            )
        case TimeoutError():
            what = "whether it took effect is not known"
            if phase is Phase.FETCH:
                what = "Stripe did not bring the object; the action has not begun"
            message = f"no end after {use.timeout_seconds:g} s (its timeout); {what}"
            return AttemptError(message, is_of_connection=is_running)
        case OSError():
            text = f"{type(error).__name__}: {_text(error)}"
            is_unreached = is_running and isinstance(error, (ConnectionRefusedError, socket.gaierror))
            return AttemptError(text, is_of_connection=is_running, is_unreached=is_unreached)
    # A fault of the action itself. Its place helps its author; its values could hold secrets.
    where = f"the action {use.uses} failed at {place_of(error) or place_of(raised)}"
    return AttemptError(f"{where}: {type(error).__name__}: {_text(error)}")


def why_missing(event: Event, account: str, fetched: Mapping[str, Any] | None) -> str:
    """Why an object may lack a field: it is gone at Stripe, or nothing was asked and the event is of a version that the
    templates were not written for. `fetched`: what `fetch` brought. Empty where there is no such reason.
    """
    if fetched is None:
        return f"; {of_another_version(event, account)}" if event.written_for is not None else ""
    answer = read_answer(fetched)
    cure = "`if: not object.deleted` passes over such events"
    if answer.not_found is not None:
        return (
            f"; Stripe answered fetch with 404 ({answer.not_found}): the object is deleted, or of another mode or "
            f"account than accounts.{account}.api_key; {cure}"
        )
    is_deleted = answer.object.get("deleted") is True
    return f"; the object is deleted at Stripe, which tells no more of it; {cure}" if is_deleted else ""


def _text(value: object) -> str:
    """As text, whatever it does when it is asked for that."""
    try:
        return str(value)
    except BaseException as error:
        return f"(its text cannot be had: {type(error).__name__})"


def _deciding(error: BaseException) -> BaseException:
    """Of a group of exceptions, as task groups raise them, the one that says what to do; any other is that itself."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    return min((_deciding(member) for member in error.exceptions), key=_weight)


def _weight(error: BaseException) -> int:
    """Who knows the most comes first: what is final, then what asks for a retry, then faults."""
    return 0 if isinstance(error, Reject) else 1 if isinstance(error, Retry) else 2
