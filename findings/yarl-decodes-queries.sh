#!/usr/bin/env bash
# yarl, by which aiohttp reads every address, decodes escapes in a query that it takes for needless: a receiver that signs
# the raw query computes another signature. URL(..., encoded=True) leaves them.
. "$(dirname "$0")/common.sh"
packages yarl==1.25.1
seen 'written: /p%2Fq?sig=a%3Db%2Fc&u=%7Eme
sent:    /p%2Fq?sig=a%3Db/c&u=~me
encoded: /p%2Fq?sig=a%3Db%2Fc&u=%7Eme' <<'PY'
from yarl import URL

written = "/p%2Fq?sig=a%3Db%2Fc&u=%7Eme"
print("written:", written)
print("sent:   ", URL("https://shop.example" + written).raw_path_qs)
print("encoded:", URL("https://shop.example" + written, encoded=True).raw_path_qs)
PY
