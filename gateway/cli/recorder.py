"""`gateway test --record`: a stored event becomes a case beside the others, once it has passed as one."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.inbox import only
from gateway.cli.main import BadUsage, options, run, with_store
from gateway.cli.output import clean, fail
from gateway.core.errors import EnvelopeError

if TYPE_CHECKING:
    from gateway.config.load import Config
    from gateway.simulation.cases.record import Happened, Recording
    from gateway.store.protocol import Store

FOLDER = Path("config/tests")
_OTHER = re.compile(r"[^A-Za-z0-9_.-]")
_MOST_DELIVERIES = 1000


def record_case(event_id: str, account: str | None, name: str | None, config: Config) -> None:
    """Writes the case and its event below config/tests/, and says what is hidden and left out. Ends with 1 where there
    is no such event, its body is gone, or files of that name are there.
    """
    from gateway.simulation.cases.record import hidden_words, record

    happened = with_store(lambda store: _happened(store, event_id, account))
    event = happened.event
    if config.account(event.account) is None:
        raise fail(f"{event.id} is of account {event.account}, which gateway.yaml does not have")
    stem = _OTHER.sub("_", event.id)
    is_first = event.account == next(iter(config.accounts))
    try:
        recording = run(lambda: record(happened, config, is_first, stem))
    except EnvelopeError as error:
        raise fail(f"{event.id} cannot be recorded: {error}") from None
    head = f"{event.id}, {event.type}, as it came at {event.received_at:%Y-%m-%d %H:%M} UTC: gateway test --record"
    texts = {f"{stem}.yaml": recording.text(name or f"{event.type} {event.id}", head)}
    texts |= {file: f"{json.dumps(value, indent=2, ensure_ascii=False)}\n" for file, value in recording.files.items()}
    _prove(texts, stem, config)
    _write(texts)
    print(clean(f"wrote {', '.join(str(_folder() / file) for file in texts)}"))
    if hidden := ", ".join(hidden_words(recording.hidden)):
        print(clean(f"hidden: {hidden}"))
    _print_left_out(recording)


def _print_left_out(recording: Recording) -> None:
    for note in recording.left_out:
        print(clean(f"left out: {note}"))


def _folder() -> Path:
    return options.config.parent / FOLDER


async def _happened(store: Store, event_id: str, account: str | None) -> Happened:
    """The event and its deliveries, whole."""
    from gateway.core.envelope import is_forgotten
    from gateway.core.model import DeliveryFilter
    from gateway.simulation.cases.record import Happened

    event = only(await store.event(event_id, account), event_id)
    if not event.body or is_forgotten(event.body):
        raise fail(f"{event_id} has no body any more: nothing is left to record")
    where = DeliveryFilter(event_ids=(event.id,), accounts=(event.account,))
    listed = await store.deliveries(where, limit=_MOST_DELIVERIES)
    whole = [entry[0] for delivery in listed if (entry := await store.delivery(delivery.id)) is not None]
    fetched: Mapping[str, Any] | None = None
    for run_id in dict.fromkeys(delivery.run_id for delivery in whole):
        kept = await store.fetched(run_id)
        fetched = kept.object if kept is not None and fetched is None else fetched
    return Happened(event, whole, fetched)


def _prove(texts: Mapping[str, str], stem: str, config: Config) -> None:
    """Runs the case where nobody sees it; what does not pass is not written."""
    from gateway.simulation.cases.load import load_cases
    from gateway.simulation.cases.report import failure_lines
    from gateway.simulation.cases.run import run_case

    with tempfile.TemporaryDirectory() as folder:
        for file, text in texts.items():
            path = Path(folder) / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        cases, problems = load_cases(Path(folder) / f"{stem}.yaml")
        results = [run(lambda case=case: run_case(case, config)) for case in cases]  # type: ignore[misc]
        wrong = [str(problem) for problem in problems]
        wrong += [line for result in results if not result.passed for _, line in failure_lines(result)]
    if wrong:
        for line in wrong:
            print(clean(line), file=sys.stderr)
        raise fail("what happened cannot be said as a case: nothing is written")


def _write(texts: Mapping[str, str]) -> None:
    """All of them or none; what is there stays."""
    there = [str(_folder() / file) for file in texts if (_folder() / file).exists()]
    if there:
        verbs = (
            "is there already, and stays as it is: move it"
            if len(there) == 1
            else ("are there already, and stay as they are: move them")
        )
        raise fail(f"{' and '.join(there)} {verbs} away first")
    for file, text in texts.items():
        path = _folder() / file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as opened:
                opened.write(text)
        except OSError as error:
            raise BadUsage(f"cannot write {path}: {error.strerror}") from None
