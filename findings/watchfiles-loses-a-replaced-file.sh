#!/usr/bin/env bash
# watchfiles looks at the file itself where a file is named: a save that puts a new file in its place, as vim, `sed -i` and a
# deployment do it, is told once, and no later one is. Watching the folder tells each.
. "$(dirname "$0")/common.sh"
[ "$(uname)" = Linux ] || { echo "not shown: needs Linux"; exit 77; }
packages watchfiles==1.3.0
seen 'the file is watched: told, not told, not told
its folder is watched: told, told, told' <<'PY'
import asyncio
import os
import tempfile
from pathlib import Path

from watchfiles import awatch


async def told(file, watched):
    """Of three saves, whether each is told within 20 turns of 100 ms."""
    looks = awatch(watched, debounce=50, step=20, rust_timeout=100, yield_on_timeout=True)
    await anext(looks)
    saves = []
    for number in range(3):
        new = file.with_name("new")
        new.write_text(str(number))
        os.replace(new, file)
        saves.append("not told")
        for _ in range(20):
            if any(path == str(file) for _, path in await anext(looks)):
                saves[-1] = "told"
                break
    await looks.aclose()
    return ", ".join(saves)


async def main():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder).resolve() / "gateway.yaml"
        file.write_text("version: 1")
        print("the file is watched:", await told(file, file))
        print("its folder is watched:", await told(file, file.parent))


asyncio.run(main())
PY
