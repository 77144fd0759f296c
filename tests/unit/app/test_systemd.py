"""What a service manager hands over, and what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.app.systemd import HandedOver, Manager, handed_over
from gateway.core.errors import UsageError


@pytest.fixture
def manager_at(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and its address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening, str(tmp_path / "notify")


def environment(count: int, names: str | None = None, pid: int | None = None) -> dict[str, str]:
    """As systemd sets it."""
    made = {"LISTEN_PID": str(os.getpid() if pid is None else pid), "LISTEN_FDS": str(count)}
    return made if names is None else {**made, "LISTEN_FDNAMES": names}


def test_without_a_service_manager_nothing_is_handed_over() -> None:
    assert handed_over({}) == HandedOver()


def test_what_is_meant_for_another_process_is_left_alone_and_forgotten() -> None:
    environ = environment(1, "public", pid=1)
    assert handed_over(environ) == HandedOver()
    assert environ == {}


@pytest.mark.parametrize(
    ("count", "names", "shown"),
    [(1, "http", "http"), (3, None, "nothing"), (2, "public", "public"), (2, "public:public", "public:public")],
)
def test_sockets_whose_names_are_not_ours_are_refused(count: int, names: str | None, shown: str) -> None:
    with pytest.raises(UsageError) as caught:
        handed_over(environment(count, names))
    assert str(caught.value) == (
        f"socket activation: {count} socket(s) named {shown} were handed over; expected one with "
        "FileDescriptorName=public and at most one with FileDescriptorName=admin"
    )


def test_a_socket_that_does_not_listen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as idle:
        monkeypatch.setattr("gateway.app.systemd._FIRST", idle.fileno())
        with pytest.raises(UsageError) as caught:
            handed_over(environment(1))
        assert str(caught.value) == (
            "socket activation: public is no listening TCP socket; the socket unit needs ListenStream= with a port, "
            "and Accept=no"
        )


def test_a_descriptor_that_is_no_socket_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        number = file.fileno()
        monkeypatch.setattr("gateway.app.systemd._FIRST", number)
        with pytest.raises(UsageError) as caught:
            handed_over(environment(1))
    assert str(caught.value) == (
        f"socket activation: public (descriptor {number}) is no socket: Socket operation on non-socket"
    )


def test_a_listening_socket_is_taken_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        monkeypatch.setattr("gateway.app.systemd._FIRST", os.dup(listening.fileno()))
        found = handed_over(environment(1, "admin"))
        assert found.public is None
        assert found.admin is not None
        with found.admin as admin:
            assert admin.getsockname() == address
            assert not os.get_inheritable(admin.fileno())


def test_the_manager_is_told_of_start_reload_and_stop(manager_at: tuple[socket.socket, str]) -> None:
    listening, address = manager_at
    environ = {"NOTIFY_SOCKET": address}
    manager = Manager(environ)
    assert environ == {}  # no child speaks for the gateway
    before = time.monotonic_ns() // 1000
    manager.ready("http://127.0.0.1:8080")
    manager.reloading()
    manager.stopping()
    assert listening.recv(200) == b"READY=1\nSTATUS=http://127.0.0.1:8080"
    reloading, _, micros = listening.recv(200).partition(b"\nMONOTONIC_USEC=")
    assert reloading == b"RELOADING=1"
    assert before <= int(micros) <= time.monotonic_ns() // 1000
    assert listening.recv(200) == b"STOPPING=1\nSTATUS=draining"


def test_an_abstract_address_is_understood() -> None:
    name = f"gateway-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(10)
        Manager({"NOTIFY_SOCKET": f"@{name}"}).ready("up")
        assert listening.recv(200) == b"READY=1\nSTATUS=up"


def test_a_manager_that_is_gone_is_no_reason_to_stop(tmp_path: Path) -> None:
    Manager({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready("up")


def test_while_its_queue_is_full_the_manager_is_waited_for_and_a_state_is_not_lost(
    manager_at: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listening, address = manager_at
    monkeypatch.setattr("gateway.app.systemd.TELL_SECONDS", 30.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.sendto(b"noise", address)
    manager = Manager({"NOTIFY_SOCKET": address})
    telling = threading.Thread(target=manager.ready, args=("up",))
    telling.start()
    while listening.recv(200) != b"READY=1\nSTATUS=up":
        pass
    telling.join(30)
    assert not telling.is_alive()


async def test_the_watchdog_hears_of_the_loop_until_the_block_ends(manager_at: tuple[socket.socket, str]) -> None:
    listening, address = manager_at
    manager = Manager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())})
    assert manager.watchdog_seconds == 0.02
    async with manager.watched():
        for _ in range(3):
            assert await asyncio.to_thread(listening.recv, 200) == b"WATCHDOG=1"
    listening.setblocking(False)
    while True:  # what was on its way
        try:
            listening.recv(200)
        except BlockingIOError:
            break
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "gateway-watchdog"]


def test_a_watchdog_meant_for_another_process_is_not_fed(manager_at: tuple[socket.socket, str]) -> None:
    assert (
        Manager({"NOTIFY_SOCKET": manager_at[1], "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}).watchdog_seconds == 0
    )
