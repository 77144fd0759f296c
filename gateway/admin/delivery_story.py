"""One delivery told for a person: what its action sends, as a command or a mail to look at, and when it is tried again.

What is sent is made anew of what was rendered and kept, by the action itself; secrets stand in it by their variables.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import structlog
from pydantic import SecretStr

from gateway.admin.api.exchanges import ExchangeOut
from gateway.admin.api.schemas import DeliveryWhole
from gateway.config.load import Config
from gateway.core.backoff import JITTER
from gateway.core.envelope import parse_json
from gateway.core.model import ActionUse, DeliveryState, Event
from gateway.plugin import Context, HttpConnection, MailPreview, Preview, RequestPreview

MOST_PLANNED = 20  # attempts that are told in advance
MOST_BODY = 20_000  # characters of a request
SIGNATURES = {
    "standard": (("webhook-id", "{id}"), ("webhook-timestamp", "$TIMESTAMP"), ("webhook-signature", "$SIGNATURE")),
    "stripe": (("Stripe-Signature", "$SIGNATURE"),),
}


@dataclass(frozen=True, slots=True)
class PlannedAttempt:
    """An attempt that will be made where those before it fail."""

    number: int  # since the delivery was made or last revived
    at: datetime
    slack_seconds: float  # it may come so much earlier or later


def planned_attempts(delivery: DeliveryWhole, action: ActionUse, now: datetime) -> list[PlannedAttempt]:
    """The next attempts of a delivery that waits for one, by the action's `retry`: each wait is varied by up to a
    fifth, so times that lie further off are less exact.
    """
    if delivery.state is not DeliveryState.PENDING or delivery.waits_for_turn:
        return []
    at, slack, plan = max(delivery.next_attempt_at or now, now), 0.0, action.retry
    planned = []
    for number in range(delivery.attempts + 1, plan.attempts + 1):
        planned.append(PlannedAttempt(number, at, slack))
        if len(planned) == MOST_PLANNED:
            break
        wait = min(plan.max_seconds, plan.first_seconds * plan.factor ** min(number - 1, 64))
        at, slack = at + timedelta(seconds=wait), slack + wait * JITTER
    return planned


def preview(config: Config, delivery: DeliveryWhole, event: Event | None, now: datetime) -> Preview | None:
    """What the action sends, of the rendered values and the event as they may be shown; None where it does not tell,
    or the configuration is another by now.
    """
    route = next((route for route in config.routes if route.name == delivery.route), None)
    use = route.action(delivery.action) if route is not None else None
    if use is None or event is None or not isinstance(delivery.rendered, dict):
        return None
    connection = config.connections.get(str(delivery.rendered.get("connection", use.connection)))
    if isinstance(connection, HttpConnection):
        connection = _named_secrets(connection, config)
    plugin = config.actions[use.uses]
    with contextlib.suppress(Exception):  # a plugin's own, or values that were cut: then nothing is shown
        context = Context(
            delivery_id=delivery.id, attempt=max(1, delivery.attempts), account=delivery.account, route=delivery.route,
            action=delivery.action, event=parse_json(event.body), body=event.body, connection=connection, resource=None,
            timeout_seconds=use.timeout_seconds, now=lambda: now, log=structlog.get_logger(),
            base_folder=str(config.folder),
        )  # fmt: skip
        return plugin.preview(plugin.Settings.model_validate(delivery.rendered), context)
    return None


def _named_secrets(connection: HttpConnection, config: Config) -> HttpConnection:
    """The connection with variables in the place of its secrets, and nothing to sign with."""
    headers = {
        name: SecretStr(config.references.mask(value.get_secret_value()).replace("***", f"${_variable(name)}"))
        for name, value in connection.headers.items()
    }
    if connection.oauth2 is not None:
        headers["Authorization"] = SecretStr("Bearer $ACCESS_TOKEN")
    address, mark, query = connection.url.partition("?")
    named = "&".join(f"{name}=${_variable(name)}" for name, _, _ in (pair.partition("=") for pair in query.split("&")))
    update: dict[str, Any] = {"headers": headers, "signature": "none", "url": address + mark + (named if query else "")}
    return connection.model_copy(update=update)


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", name).upper()


def as_curl(request: RequestPreview, delivery_id: str, connection: HttpConnection, config: Config) -> str:
    """A command that sends the same, after comments that say what it wants and lacks. Secrets are variables of the
    shell, to be set before; a signature is of its time and body, so whoever sends it makes one.
    """
    signed = [(name, value.format(id=delivery_id)) for name, value in SIGNATURES.get(connection.scheme, ())]
    url, headers = config.references.mask(request.url), [f"{n}: {v}" for n, v in (*request.headers, *signed)]
    lines = [f"curl -X {request.method} {_quoted(url)}", *(f"-H {_quoted(header)}" for header in headers)]
    variables = dict.fromkeys(re.findall(r"\$\{?([A-Z_]\w*)", " ".join([url, *headers])))
    comments = [f"# first: export {' '.join(f'{name}=...' for name in variables)}\n"] if variables else []
    if request.body:
        text = request.body.decode("utf-8", "replace")
        lines.append(f"--data-binary {shlex.quote(text[:MOST_BODY])}")
        if len(text) > MOST_BODY:
            comments.append(f"# the body is cut: {MOST_BODY:,} of its {len(text):,} characters\n")
        if text.encode() != request.body:
            comments.append("# the body is not all text: what is none stands as \N{REPLACEMENT CHARACTER}\n")
    return "".join(comments) + " \\\n  ".join(lines)


def _quoted(text: str) -> str:
    """For the shell; `$NAME` and `${NAME}` are left to be filled in."""
    if not re.search(r"\$\{?[A-Z_]", text):
        return shlex.quote(text)
    escaped = re.sub(r"([\"\\`])", r"\\\1", text)
    return '"' + re.sub(r"\$(?!\{?[A-Z_])", r"\\$", escaped) + '"'


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail, taken apart for a page."""

    heads: Sequence[tuple[str, str]]
    text: str
    html: str
    attachments: Sequence[str]


def mail_parts(mail: MailPreview) -> Mail:
    """What a reader sees of it."""
    message = message_from_bytes(mail.message, policy=default)
    assert isinstance(message, EmailMessage)
    plain, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    return Mail(
        heads=[
            (name, str(value)) for name, value in message.items() if not name.lower().startswith(("mime", "content"))
        ],
        text=str(plain.get_content()) if plain is not None else "",
        html=str(html.get_content()) if html is not None else "",
        attachments=[part.get_filename() or part.get_content_type() for part in message.iter_attachments()],
    )


def exchange_parts(exchange: ExchangeOut) -> tuple[str, str]:
    """What was sent and what came back, each as it would be on the wire."""
    body = f"(the event as Stripe posted it, {exchange.bytes:,} bytes)" if exchange.is_event else exchange.body
    sent = _wire(exchange.sent, exchange.headers, body, 0 if exchange.is_event else exchange.bytes)
    if exchange.answer is None:
        return sent, "No answer came."
    return sent, _wire(exchange.answer, exchange.answer_headers, exchange.answer_body, exchange.answer_bytes)


def _wire(line: str, headers: Sequence[Sequence[str]], body: str, size: int) -> str:
    lines = [line, *(f"{name}: {value}" for name, value in headers)]
    if body:
        lines += ["", body + (f"… ({size:,} bytes)" if len(body.encode(errors="replace")) < size else "")]
    return "\n".join(lines)


def answer_of(output: Any) -> str | None:
    """The answer of a service, as it came: status, headers, body; None where the output is none."""
    if not isinstance(output, dict) or not {"status", "headers", "body"} <= output.keys():
        return None
    heads = output["headers"] if isinstance(output["headers"], dict) else {}
    body = (
        output["body"] if isinstance(output["body"], str) else json.dumps(output["body"], indent=2, ensure_ascii=False)
    )
    return "\n".join([f"HTTP {output['status']}", *(f"{name}: {value}" for name, value in heads.items()), "", body])
