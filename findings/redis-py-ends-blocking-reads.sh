#!/usr/bin/env bash
# redis-py's default socket_timeout of 5 s also ends a read that is meant to block for longer: XREAD BLOCK 7000 raises
# TimeoutError, after ten repeats by default (here none, so that it takes seconds), though the server would have answered.
# A consumer gives socket_timeout=None, or blocks for less.
. "$(dirname "$0")/common.sh"
needs redis-server
packages redis==8.1.0
seen 'defaults: socket_timeout 5, retries 10
XREAD BLOCK 7000 by default: TimeoutError after 5 s
XREAD BLOCK 7000 with socket_timeout=None: [] after 7 s' <<'PY'
import subprocess
import tempfile
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

with tempfile.TemporaryDirectory(prefix="f") as folder:
    path = f"{folder}/s"
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder],
                              stdout=subprocess.DEVNULL)
    try:
        while not Path(path).exists():
            time.sleep(0.05)
        connection = redis.Redis(host="127.0.0.1").connection_pool.make_connection()
        print(f"defaults: socket_timeout {connection.socket_timeout}, retries {connection.retry.get_retries()}")
        for name, options in (("by default", {}), ("with socket_timeout=None", {"socket_timeout": None})):
            client = redis.Redis(unix_socket_path=path, retry=Retry(NoBackoff(), 0), **options)
            start = time.monotonic()
            try:
                answer = client.xread({"orders": "$"}, block=7000)
            except redis.TimeoutError as error:
                answer = type(error).__name__
            print(f"XREAD BLOCK 7000 {name}: {answer} after {time.monotonic() - start:.0f} s")
    finally:
        server.terminate()
        server.wait(30)
PY
