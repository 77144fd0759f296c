#!/usr/bin/env bash
# While nats-py has no connection, publish and flush return as if the server had the message: it waits in memory for the
# reconnect, and is gone with the process. Only a JetStream publish waits for somebody's answer.
. "$(dirname "$0")/common.sh"
packages nats-py==2.16.0
needs nats-server
seen "connected: False
publish: returned
flush: returned
in memory: PUB orders 4" <<'PY'
import asyncio
import json
import subprocess
import tempfile
from pathlib import Path

import nats


async def show(folder):
    command = ["nats-server", "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", folder]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not (files := [*Path(folder).glob("*.ports")]) or not files[0].read_text():
            await asyncio.sleep(0.05)
        lost = asyncio.Event()

        async def on_disconnect():
            lost.set()

        async def on_error(error):
            pass

        client = await nats.connect(
            json.loads(files[0].read_text())["nats"][0],
            disconnected_cb=on_disconnect,
            error_cb=on_error,
            reconnect_time_wait=60,
        )
        server.terminate()
        await lost.wait()
        print("connected:", client.is_connected)
        await client.publish("orders", b"paid")
        print("publish: returned")
        await client.flush(timeout=5)
        print("flush: returned")
        print("in memory:", b"".join(client._pending).splitlines()[0].decode().replace("  ", " "))
    finally:
        server.kill()
        server.wait()


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(show(folder))
PY
