#!/usr/bin/env bash
# Material for MkDocs: the plugin `offline`, which is there so that a site can be read from a disk, has every page fetch a script from a
# content network; without it no page fetches anything, with `font: false`.
. "$(dirname "$0")/common.sh"
packages mkdocs-material==9.8.2 mkdocs==1.6.1
mkdir -p "$work/docs"
echo "# Start" > "$work/docs/index.md"
export WORK=$work NO_MKDOCS_2_WARNING=1
seen "search alone: 0 scripts of other hosts
search and offline: 1 scripts of other hosts" <<'PY'
import os
import re
import subprocess
import sys
from pathlib import Path

work = Path(os.environ["WORK"])
for label, plugins in (("search alone", "[search]"), ("search and offline", "[search, offline]")):
    config = "site_name: Here\ntheme: {name: material, font: false}\nplugins: " + plugins + "\n"
    (work / "mkdocs.yml").write_text(config)
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(work / "site")], cwd=work, check=True,
        stderr=subprocess.DEVNULL,
    )
    page = (work / "site/index.html").read_text()
    print(f"{label}: {len(re.findall(r'<script[^>]+src=.?https?://', page))} scripts of other hosts")
PY
