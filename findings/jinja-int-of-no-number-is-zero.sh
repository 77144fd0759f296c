#!/usr/bin/env bash
# Jinja's filters int and float make 0 of what is no number, without a word, also with StrictUndefined: an amount with a
# decimal comma is nothing. The documentation names the default; nothing tells that it was taken.
. "$(dirname "$0")/common.sh"
packages Jinja2==3.1.6
seen "{{ '12,5' | int }} -> 0
{{ '12,5' | float }} -> 0.0
{{ none | int }} -> 0" <<'PY'
from jinja2 import Environment, StrictUndefined

environment = Environment(undefined=StrictUndefined)
for source in ("{{ '12,5' | int }}", "{{ '12,5' | float }}", "{{ none | int }}"):
    print(source, "->", environment.from_string(source).render())
PY
