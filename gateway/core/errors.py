"""The exception tree, and the place in a file that an error can point to."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Where:
    """A place in the configuration. `line` and `column` are 1-based, as editors show them.

    `path` is the dotted way to the value, such as `routes.fulfil-order.actions.save.with.table`;
    empty where the whole file is meant. `end_column` is the one after the last character, where that is known and on
    the same line; else 0.
    """

    file: str
    line: int
    column: int
    path: str = ""
    end_column: int = field(default=0, compare=False)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        return f"{place} ({self.path})" if self.path else place


def place_of(error: BaseException) -> str:
    """The line of code in which an exception was raised, such as `fax.py:12`: helps its author, and holds no value.
    Empty where it was not raised.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else ""


class GatewayError(Exception):
    """Whatever the gateway raises on purpose. Its text is written for a person and holds no secret."""


class UsageError(GatewayError):
    """What was asked cannot be done as asked: a wrong argument, a file that is not there."""


def cannot_listen(option: str, listen: str, error: OSError) -> UsageError:
    """What an address that cannot be listened on is told as, with the way out where another program has it."""
    taken = f"; end the program that has it, or write another port in {option}"
    return UsageError(
        f"{option}: cannot listen on {listen}: {error.strerror}{taken if error.errno == errno.EADDRINUSE else ''}"
    )


class UnknownName(UsageError):  # noqa: N818 - reads as what it is
    """Something is named, such as a route or a connection, that is not there."""


class SignatureError(GatewayError):
    """A request did not prove that it comes from Stripe.

    `reason` is one of `missing`, `malformed`, `no_match`, `too_old`, `too_new`: for logs and counters,
    never for the answer.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"signature refused: {reason}")
        self.reason = reason


class EnvelopeError(GatewayError):
    """A body carried a good signature, but is not a Stripe event."""


class StoreError(GatewayError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):  # noqa: N818 - reads as what it is
    """The store cannot commit now: disk full, read-only, connection lost. Trying again may succeed."""


class StoreMissing(StoreUnavailable):
    """There is no store yet where the configuration names one."""


class StoreLocked(StoreError):  # noqa: N818
    """Another gateway already works on this SQLite file."""


class StoreOutdated(StoreError):  # noqa: N818
    """The store's schema is not the one that this program knows."""


class StoreKeyMissing(StoreError):  # noqa: N818
    """Something in the store is encrypted with a key that `store.encrypt` does not name."""


class StoreDamaged(StoreError):  # noqa: N818
    """What one row of the store holds cannot be read: it is damaged, or a newer program wrote it."""


class StripeApiError(GatewayError):
    """Stripe's API did not give what it was asked for."""


class StripeUnavailable(StripeApiError):  # noqa: N818
    """Stripe does not answer now: down, slow, or too many requests. Trying again may succeed.

    `after_seconds` is what Stripe asked for, if it did.
    """

    def __init__(self, message: str, after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class StripeRefused(StripeApiError):  # noqa: N818
    """Stripe will never answer this question as it is asked: a permission is missing, or the question is wrong."""


class StripeKeyRefused(StripeRefused):
    """Stripe does not know the API key: rolled, expired, or mistyped. Right again once the configuration is mended."""


class StripeMissing(StripeApiError):  # noqa: N818
    """There is no such object at Stripe, or no longer."""


class TemplateError(GatewayError):
    """A template or an expression did not compile or did not render. `where` is its place in the YAML or in a template
    file, `code` the kind of problem. `others` are further faults of the same template.
    """

    def __init__(
        self, where: Where, message: str, code: str = "template", others: tuple[TemplateError, ...] = ()
    ) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where
        self.message = message
        self.code = code
        self.others = others
