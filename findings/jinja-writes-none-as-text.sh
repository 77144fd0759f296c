#!/usr/bin/env bash
# Jinja's filters of texts, and join, take None for the text "None", also with StrictUndefined: a line of an address that is null
# ends on the parcel as "None", and a name as "NONE".
. "$(dirname "$0")/common.sh"
packages Jinja2==3.1.6
seen "upper: NONE
title | trim: None
urlencode: None
join: Torstr. 1, None, Berlin
join of an attribute: a, None
select, then join: Torstr. 1, Berlin" <<'PY'
from jinja2 import Environment, StrictUndefined

environment = Environment(undefined=StrictUndefined)
names = {"name": None, "address": ["Torstr. 1", None, "Berlin"], "parts": [{"sku": "a"}, {"sku": None}]}
for label, source in (
    ("upper", "{{ name | upper }}"),
    ("title | trim", "{{ name | title | trim }}"),
    ("urlencode", "{{ name | urlencode }}"),
    ("join", "{{ address | join(', ') }}"),
    ("join of an attribute", "{{ parts | join(', ', attribute='sku') }}"),
    ("select, then join", "{{ address | select | join(', ') }}"),
):
    print(f"{label}: {environment.from_string(source).render(names)}")
PY
