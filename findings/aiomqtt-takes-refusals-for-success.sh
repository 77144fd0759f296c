#!/usr/bin/env bash
# aiomqtt's publish at QoS 1 waits for the server's PUBACK, and leaves its reason code unread (MQTT 5.0, section 3.4.2.1):
# a message that the server refuses (not authorized) or that nobody gets (no matching subscribers) is published without
# an error, and lost. paho-mqtt, on which it stands, gives the code to its on_publish.
. "$(dirname "$0")/common.sh"
needs mosquitto
packages aiomqtt==2.5.1 paho-mqtt==2.2.0
seen 'aiomqtt, to a topic that this user may not publish to: None
aiomqtt, to a topic that nobody subscribes to: None
paho, to the first: Not authorized (135)
paho, to the second: No matching subscribers (16)' <<'PY'
import asyncio
import queue
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import aiomqtt
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]


async def ask_aiomqtt():
    async with aiomqtt.Client("127.0.0.1", port, username="me", protocol=aiomqtt.ProtocolVersion.V5) as client:
        print("aiomqtt, to a topic that this user may not publish to:", await client.publish("secret", b"x", qos=1))
        print("aiomqtt, to a topic that nobody subscribes to:", await client.publish("orders", b"x", qos=1))


def ask_paho():
    answers = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.username_pw_set("me")
    client.on_publish = lambda client, data, number, reason, properties: answers.put(f"{reason} ({reason.value})")
    client.connect("127.0.0.1", port)
    client.loop_start()
    for name, topic in (("first", "secret"), ("second", "orders")):
        client.publish(topic, b"x", qos=1)
        print(f"paho, to the {name}: {answers.get(timeout=10)}")
    client.disconnect()
    client.loop_stop()


with tempfile.TemporaryDirectory(prefix="f") as folder:
    rights, config = Path(folder, "rights"), Path(folder, "conf")
    rights.write_text("user me\ntopic readwrite orders\n")
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {rights}\nuser root\n")
    server = subprocess.Popen(["mosquitto", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        asyncio.run(ask_aiomqtt())
        ask_paho()
    finally:
        server.terminate()
        server.wait(30)
PY
