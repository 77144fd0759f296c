"""A disk that is full, only reads, or spoiled the file: 503, and recovery without a restart where there is one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.testing import make_event
from tests.acceptance.harness import GatewayProcess, free_port, post
from tests.acceptance.ledger import TORTURE, Ledger
from tests.waiting import HANG_SECONDS, until

pytestmark = pytest.mark.slow

EVENTS = 200 * TORTURE


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """On a disk: the suite's own folders may lie in memory, where an immutable file that is open takes writes."""
    with tempfile.TemporaryDirectory(prefix="gateway-disk-", dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture
async def gateway(tmp_path: Path, ledger: Ledger) -> AsyncIterator[GatewayProcess]:
    """Not yet started."""
    port = free_port()
    made = GatewayProcess(tmp_path, ledger.config(port), port)
    yield made
    made.stop()


async def until_refused(ledger: Ledger, times: int) -> None:
    """Until so many were answered 503."""
    await until(lambda: ledger.answers[503] >= times)


async def is_ready(gateway: GatewayProcess) -> bool:
    """What /readyz says."""
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/readyz") as response:
        return response.status == 200


async def refused_then_whole(gateway: GatewayProcess, ledger: Ledger, mend: Callable[[], object], words: str) -> None:
    """With the fault on: load is answered 503, and /readyz too. After `mend`: all is taken and delivered, by the same
    process.
    """
    sending = asyncio.create_task(ledger.send(gateway, EVENTS))
    try:
        await until_refused(ledger, 20)
        assert not await is_ready(gateway)
        assert (await health(gateway)) == 200
        assert not gateway.has_ended
        mend()
        await sending
        await ledger.settle(120 * TORTURE)
        assert await is_ready(gateway)
    finally:
        sending.cancel()
    log = gateway.log.read_text()
    assert words in log
    assert "Traceback" not in log
    assert len(log.splitlines()) < 400 * TORTURE  # a fault floods no log


async def health(gateway: GatewayProcess) -> int:
    """What /healthz says: a full disk is no reason to kill the process."""
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/healthz") as response:
        return response.status


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"this machine allows no mounting: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_is_answered_503_until_there_is_room_again(gateway: GatewayProcess, ledger: Ledger) -> None:
    with small_disk(gateway.folder / "data", f"{64 * TORTURE}m"):
        await gateway.start()
        await ledger.send(gateway, 40)
        filler = gateway.folder / "data" / "filler"
        with filler.open("wb", buffering=0) as full, contextlib.suppress(OSError):
            while True:
                full.write(b"x" * 4096)
        await refused_then_whole(gateway, ledger, filler.unlink, "database or disk is full")
        assert gateway.rows("PRAGMA integrity_check") == [("ok",)]
        gateway.stop()


async def test_a_file_that_may_not_grow_is_answered_503_until_it_may(gateway: GatewayProcess, ledger: Ledger) -> None:
    await gateway.start()
    await ledger.send(gateway, 40)
    no_limit = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (4096, no_limit[1]))
    await refused_then_whole(
        gateway, ledger, lambda: resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, no_limit), "cannot commit to"
    )
    gateway.terminate()


async def test_a_disk_that_only_reads_is_answered_503_until_it_takes_writes_again(
    gateway: GatewayProcess, ledger: Ledger
) -> None:
    await gateway.start()
    await ledger.send(gateway, 40)
    # Not the -shm: it is memory that SQLite shares, and the kernel ends who writes to it where it may not be written.
    files = [str(gateway.folder / "data" / name) for name in ("gateway.db", "gateway.db-wal")]
    chattr = shutil.which("chattr") or pytest.skip("there is no chattr")

    def set_immutable(sign: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([chattr, f"{sign}i", *files], capture_output=True, text=True, check=False)

    if (done := set_immutable("+")).returncode != 0:
        set_immutable("-")
        pytest.skip(f"this file system has no immutable files: {done.stderr.strip()}")
    try:
        await refused_then_whole(gateway, ledger, lambda: set_immutable("-"), "cannot commit to")
    finally:
        set_immutable("-")
    gateway.terminate()


async def test_on_a_disk_that_only_reads_it_does_not_start_and_says_why(
    gateway: GatewayProcess, ledger: Ledger
) -> None:
    data = gateway.folder / "data"
    with small_disk(data, "8m"):
        await gateway.start()
        gateway.terminate()
        subprocess.run(["mount", "-o", "remount,ro", str(data)], check=True)
        done = gateway.run("serve")
        assert done.returncode == 1
        assert f"cannot open {data / 'gateway.db'}: Read-only file system" in done.stderr
        assert "Traceback" not in done.stderr


# -- a spoiled file -------------------------------------------------------------------------------------------


def spoil(file: Path, offset: int, size: int) -> None:
    """Writes nonsense into a file."""
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(os.urandom(size))


async def filled(gateway: GatewayProcess, ledger: Ledger) -> Path:
    """The inbox's file, after some events and a clean end."""
    await gateway.start()
    await ledger.send(gateway, 200)
    await ledger.settle()
    gateway.terminate()
    return gateway.folder / "data" / "gateway.db"


WAY_OUT = "see docs/operations.md, A damaged SQLite file"


async def test_a_spoiled_header_is_refused_at_start_with_the_way_out(gateway: GatewayProcess, ledger: Ledger) -> None:
    file = await filled(gateway, ledger)
    spoil(file, 0, 100)
    for command in (["serve"], ["events", "list"]):
        done = gateway.run(*command)
        assert done.returncode == 1
        assert done.stderr.strip().endswith(
            f"{file} is damaged or not a SQLite file: file is not a database; {WAY_OUT}"
        ), done.stderr
        assert "Traceback" not in done.stderr


async def test_a_spoiled_page_is_refused_at_start_with_the_way_out(gateway: GatewayProcess, ledger: Ledger) -> None:
    file = await filled(gateway, ledger)
    spoil(file, 4096, file.stat().st_size - 4096)
    done = gateway.run("serve")
    assert done.returncode == 1
    assert "is damaged" in done.stderr
    assert WAY_OUT in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_file_that_is_spoiled_while_it_works_is_answered_503(gateway: GatewayProcess, ledger: Ledger) -> None:
    await gateway.start()
    await ledger.send(gateway, 200)
    await ledger.settle()
    data = gateway.folder / "data"
    for file in (data / "gateway.db", data / "gateway.db-wal"):
        spoil(file, 0, file.stat().st_size)
    async with aiohttp.ClientSession() as session:
        async with asyncio.timeout(HANG_SECONDS):
            while True:  # the writer works from its memory until somebody reads what is spoiled
                event = make_event("checkout.session.completed")
                status, _ = await post(session, f"{gateway.url}/webhooks/acme", event)
                if status != 200:
                    break
        assert status == 503
        assert not await is_ready(gateway)
    assert not gateway.has_ended
    log = gateway.log.read_text()
    assert WAY_OUT in log
    assert "Traceback" not in log


async def test_the_documented_way_out_of_a_damaged_file_takes_what_is_sent_again(
    gateway: GatewayProcess, ledger: Ledger
) -> None:
    """docs/operations.md: put the files aside, start anew, and have the events sent again or backfilled."""
    file = await filled(gateway, ledger)
    spoil(file, 0, 100)
    for one in file.parent.glob("gateway.db*"):
        one.rename(one.with_name(one.name.replace("gateway.db", "damaged.db")))
    await gateway.start()
    await ledger.send(gateway, 40)
    await ledger.settle()
    assert gateway.rows("SELECT count(*) FROM events WHERE state <> 'unmatched'")[0][0] >= 36
    gateway.terminate()
