#!/usr/bin/env bash
# prometheus_client counts first and looks at the exemplar after: one of more than 128 characters (a trace id beside the ids of
# an event and a session, say) is a ValueError in the code that only meant to count, and who tries again counts twice.
. "$(dirname "$0")/common.sh"
packages prometheus_client==0.26.0
seen "inc: ValueError, events_total 1.0
inc: ValueError, events_total 2.0
observe: ValueError, seconds_count 1.0" <<'PY'
from prometheus_client import CollectorRegistry, Counter, Histogram

registry = CollectorRegistry()
events = Counter("events", "Events.", registry=registry)
seconds = Histogram("seconds", "Seconds.", registry=registry)
exemplar = {"trace_id": "0" * 32, "event": "evt_" + "1" * 24, "session": "cs_live_" + "a" * 58}
for call, metric, sample in (
    ("inc", events, "events_total"),
    ("inc", events, "events_total"),
    ("observe", seconds, "seconds_count"),
):
    try:
        getattr(metric, call)(1, exemplar)
        outcome = "counted"
    except ValueError as error:
        outcome = type(error).__name__
    print(f"{call}: {outcome}, {sample} {registry.get_sample_value(sample)}")
PY
