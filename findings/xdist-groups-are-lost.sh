#!/usr/bin/env bash
# pytest-xdist marks a group by appending @group to the private _nodeid of each test, which pytest has not read since 9.2:
# `--dist loadgroup` then says nothing and spreads each group over all workers, and what a group shares is started on each.
. "$(dirname "$0")/common.sh"
packages pytest==9.2.0 pytest-xdist==3.8.0
cat >"$work/test_shared.py" <<'PY'
import os
import time
from pathlib import Path

import pytest


@pytest.mark.xdist_group("server")
@pytest.mark.parametrize("number", range(20))
def test_shared(number: int) -> None:
    time.sleep(0.05)
    Path(os.environ["SEEN"], os.environ["PYTEST_XDIST_WORKER"]).touch()
PY
export WORK=$work
seen 'workers that ran the group: 2' <<'PY'
import os
import subprocess
import sys
import tempfile

with tempfile.TemporaryDirectory() as folder:
    words = ["-q", "-n", "2", "--dist", "loadgroup", "--rootdir", os.environ["WORK"], os.environ["WORK"] + "/test_shared.py"]
    environ = {**os.environ, "SEEN": folder}
    subprocess.run([sys.executable, "-m", "pytest", *words], env=environ, check=True, stdout=subprocess.DEVNULL)
    print("workers that ran the group:", len(os.listdir(folder)))
PY
