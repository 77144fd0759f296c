#!/usr/bin/env bash
# JetStream knows a message that comes twice by its Nats-Msg-Id alone: a second message of that id is not stored though its
# subject and its body are others. Who sends an event's id to two subjects of one stream sends it to the first of them.
. "$(dirname "$0")/common.sh"
packages nats-py==2.16.0
needs nats-server
seen "orders.paid: stored, duplicate: None
orders.mail: stored as the one before, duplicate: True
in the stream: orders.paid" <<'PY'
import asyncio
import json
import subprocess
import tempfile
from pathlib import Path

import nats


async def show(folder):
    command = ["nats-server", "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", folder, "--ports_file_dir", folder]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not (files := [*Path(folder).glob("*.ports")]) or not files[0].read_text():
            await asyncio.sleep(0.05)
        client = await nats.connect(json.loads(files[0].read_text())["nats"][0])
        stream = client.jetstream()
        await stream.add_stream(name="shop", subjects=["orders.*"])
        numbers = []
        for subject, body in (("orders.paid", b"paid"), ("orders.mail", b"mail it")):
            answer = await stream.publish(subject, body, headers={"Nats-Msg-Id": "evt_1"})
            stored = "stored as the one before" if answer.seq in numbers else "stored"
            numbers.append(answer.seq)
            print(f"{subject}: {stored}, duplicate: {answer.duplicate}")
        count = (await stream.stream_info("shop")).state.messages
        print("in the stream:", *[(await stream.get_msg("shop", number + 1)).subject for number in range(count)])
        await client.close()
    finally:
        server.terminate()
        server.wait()


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(show(folder))
PY
