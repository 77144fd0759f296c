"""The gateway as its image is meant to run: a root that only reads, no capability, one writable folder.

No image is built here: the same limits are put on the installed program, by a mount namespace and setpriv.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from dockerfile_parse import DockerfileParser

from tests.acceptance.harness import (
    ROOT,
    GatewayProcess,
    Sink,
    distinct_events,
    free_port,
    post,
)
from tests.configs import SHIP, gateway_yaml, http
from tests.waiting import HANG_SECONDS

USER = 10001
CONTAIN = f"""\
set -e
mount --make-rprivate /
mount --bind "$DATA" "$DATA"
mount -o remount,bind,ro /
user="--reuid {USER} --regid {USER} --clear-groups"
setpriv $user "$1" -c "open('$DATA/try', 'w')" 2>/dev/null || user=""  # others may not enter where this runs
rm -f "$DATA/try"
cd "$DATA"
exec setpriv $user --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


class Contained(GatewayProcess):
    """A gateway that may write to nothing but its folder."""

    def _command(self, *words: str) -> list[str]:
        return ["unshare", "--mount", "sh", "-c", CONTAIN, "contain", *super()._command(*words)]

    def status(self, name: str) -> str:
        """What the kernel says of the process."""
        return re.search(rf"^{name}:\s*(.*)$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)[1]  # type: ignore[index]


def health_check(port: int) -> int:
    """What the image's HEALTHCHECK ends with."""
    parser = DockerfileParser(fileobj=io.BytesIO((ROOT / "Containerfile").read_bytes()))
    (check,) = [one["value"] for one in parser.structure if one["instruction"] == "HEALTHCHECK"]
    _, *words = json.loads(check.partition(" CMD ")[2])
    words[-1] = words[-1].replace("8080", str(port))
    return subprocess.run([sys.executable, *words], timeout=HANG_SECONDS, stderr=subprocess.DEVNULL).returncode


@pytest.mark.skipif(os.getuid() != 0 and not os.environ.get("CI"), reason="a mount namespace needs root")
async def test_on_a_root_that_only_reads_without_any_right_it_starts_works_and_is_healthy(
    tmp_path: Path, sink: Sink
) -> None:
    port = free_port()
    text = gateway_yaml(port=port, connections={"warehouse": http(sink.url)}, routes=SHIP)
    gateway = Contained(tmp_path, text, port)
    gateway.environ = {"DATA": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    tmp_path.chmod(0o777)
    try:
        await gateway.start()
        assert (gateway.status("CapEff"), gateway.status("NoNewPrivs")) == ("0" * 16, "1")
        root = next(
            one for one in Path(f"/proc/{gateway.pid}/mountinfo").read_text().splitlines() if one.split()[4] == "/"
        )
        assert "ro" in root.split()[5].split(",")
        assert health_check(port) == 0
        async with aiohttp.ClientSession() as session:
            for event in distinct_events(5):
                assert (await post(session, f"{gateway.url}/webhooks/acme", event))[0] == 200
        await gateway.until_finished()
        assert len(sink.events) == 5
        assert gateway.terminate() == 0
        assert "Traceback" not in gateway.log.read_text()
        assert health_check(port) != 0
    finally:
        gateway.stop()
