#!/usr/bin/env bash
# aiohttp's client reads a gzip answer whose stream ends early, though the body has the length that it says, as if it were
# whole: no error, and a part of the text. Python's own gzip refuses the same bytes.
. "$(dirname "$0")/common.sh"
packages aiohttp==3.14.5
seen 'aiohttp: status 200, a begin of the text, no error
gzip:    EOFError' <<'PY'
import asyncio
import gzip
import random

import aiohttp
from aiohttp import web

TEXT = "".join(random.Random(1).choices("abcdef", k=100_000)).encode()
PACKED = gzip.compress(TEXT)
CUT = PACKED[: len(PACKED) // 3]


async def answer(request):
    return web.Response(body=CUT, headers={"Content-Encoding": "gzip"})


async def main():
    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as response:
        body = await response.read()
        assert TEXT.startswith(body) and 0 < len(body) < len(TEXT)
        print(f"aiohttp: status {response.status}, a begin of the text, no error")
    await runner.cleanup()


asyncio.run(main())
try:
    gzip.decompress(CUT)
except EOFError as error:
    print("gzip:   ", type(error).__name__)
PY
