"""Restarts under 200 requests a second: no connection is refused, no event is lost or handled twice."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import aiohttp.web
import asyncpg
import pytest
import structlog

from gateway.app.gateway import GatewayOptions, running
from gateway.app.systemd import HandedOver
from gateway.config.load import load
from gateway.core.errors import UsageError
from gateway.testing import make_event
from tests.acceptance.harness import ROOT, GatewayProcess, Sink, free_port, post
from tests.certificates import self_signed
from tests.configs import SHIP, SQLITE, gateway_yaml, http
from tests.http_service import Serve
from tests.postgres_server import OwnServer
from tests.waiting import until

pytestmark = pytest.mark.slow

EVENTS = 1200
SECONDS_BETWEEN = 1 / 200


def config(sink: Sink, port: int, store: str = SQLITE, server: str = "") -> str:
    return gateway_yaml(
        port=port,
        server=server,
        log="level: info, format: json",
        store=f'url: "{store}"',
        reload="watch: false",
        connections={"warehouse": http(sink.url, "concurrency: 32")},
        routes=SHIP,
    )


class Load:
    """Posts events at a steady pace; what each request came to."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session
        self.ends: Counter[str] = Counter()
        self.is_over = False
        self.sent: set[str] = set()

    async def run(self, at: dict[int, Callable[[], Awaitable[None]]]) -> None:
        """Sends them all; beside it, does what is said at some of them, one after another."""
        due = asyncio.Queue[Callable[[], Awaitable[None]] | None]()

        async def deeds() -> None:
            while (deed := await due.get()) is not None:
                await deed()

        async with asyncio.TaskGroup() as group:
            group.create_task(deeds())
            start = time.monotonic()
            for number in range(EVENTS):
                await asyncio.sleep(max(0.0, start + number * SECONDS_BETWEEN - time.monotonic()))
                group.create_task(self._post())
                if number in at:
                    due.put_nowait(at[number])
            due.put_nowait(None)
            self.is_over = True

    async def _post(self) -> None:
        event = make_event("checkout.session.completed")
        self.sent.add(event["id"])
        try:
            status, _ = await post(self.session, self.url, event)
            self.ends[str(status)] += 1
        except aiohttp.ClientError as error:
            self.ends[f"{type(error).__name__}: {error}"] += 1


async def until_delivered(sink: Sink, load: Load) -> None:
    await until(lambda: set(sink.events.values()) == load.sent, seen=lambda: len(load.sent - set(sink.events.values())))


async def restart(gateway: GatewayProcess) -> None:
    assert await asyncio.to_thread(gateway.terminate) == 0
    await gateway.start()


async def test_restarts_on_a_socket_that_stays_open_refuse_nothing_and_repeat_nothing(
    tmp_path: Path, sink: Sink
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:  # as the socket unit does
        port = listening.getsockname()[1]
        gateway = GatewayProcess(tmp_path, config(sink, free_port()), port)
        gateway.given = listening
        await gateway.start()
        deeds: dict[int, Callable[[], Awaitable[None]]] = {
            EVENTS * part // 4: lambda: restart(gateway) for part in (1, 2, 3)
        }
        try:
            # each request on a connection of its own: there is one to be refused each time
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
            async with aiohttp.ClientSession(connector=connector) as session:
                load = Load(f"http://127.0.0.1:{port}/webhooks/acme", session)
                await load.run(deeds)
            await until_delivered(sink, load)
        finally:
            gateway.terminate()
    assert load.ends == {"200": EVENTS}
    assert set(sink.ids.values()) == {1}
    assert len(sink.ids) == EVENTS
    log = gateway.log.read_text()
    assert log.count('"gateway.ready"') == 4
    assert log.count('"gateway.stopped"') == 4


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd")
async def test_systemd_hands_its_socket_over_and_is_told_how_the_gateway_is(tmp_path: Path, sink: Sink) -> None:
    port, unused = free_port(), free_port()
    (tmp_path / "gateway.yaml").write_text(config(sink, unused))
    told: list[str] = []

    async def until_told(state: str, count: int = 1) -> None:
        await until(lambda: sum(message.startswith(state) for message in told) >= count)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        listening = asyncio.create_task(_listen(manager, told))
        passed = {
            "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000",
        }  # fmt: skip
        words = [f"--setenv={name}={value}" for name, value in passed.items()]
        command = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", "--fdname=public", *words]
        program = [sys.executable, "-m", "gateway", "--config", str(tmp_path / "gateway.yaml"), "serve"]
        with (tmp_path / "log.txt").open("wb") as log:
            process = subprocess.Popen([*command, *program], stderr=log)
        try:
            await _listens(port)
            async with aiohttp.ClientSession() as session:
                event = make_event("checkout.session.completed")
                # the first connection starts the gateway, and waits for it
                assert (await post(session, f"http://127.0.0.1:{port}/webhooks/acme", event))[0] == 200
            await until_told("READY")
            process.send_signal(signal.SIGHUP)
            await until_told("READY", 2)
            await until_told("WATCHDOG=1", 3)
            process.send_signal(signal.SIGTERM)
            await until_told("STOPPING")
            assert await asyncio.to_thread(process.wait, 60) == 0, (tmp_path / "log.txt").read_text()
        finally:
            process.kill()
            process.wait()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    states = [one.partition("=")[0] for one in told if not one.startswith("WATCHDOG")]
    assert states == ["READY", "RELOADING", "READY", "STOPPING"]
    ready, reloading, again, _ = [one for one in told if not one.startswith("WATCHDOG")]
    assert ready.startswith(f"READY=1\nSTATUS=http://127.0.0.1:{port}, configuration ")
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert again.endswith(", last reload unchanged")


async def _listen(manager: socket.socket, told: list[str]) -> None:
    """Notes what a service manager is told."""
    while True:
        told.append((await asyncio.get_running_loop().sock_recv(manager, 1000)).decode())


async def _listens(port: int) -> None:
    """Until somebody does; without connecting, which would start the gateway."""
    await until(lambda: f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text())


async def test_a_console_on_a_socket_that_is_open_to_others_takes_a_token(tmp_path: Path, sink: Sink) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listening:
        loaded = load(written(tmp_path, config(sink, free_port())), {})
        with pytest.raises(UsageError) as caught:
            async with running(loaded, structlog.get_logger(), GatewayOptions(sockets=HandedOver(admin=listening))):
                pass
    assert str(caught.value) == (
        "socket activation: the socket admin is open to other machines, which takes a token; set admin.token, or give "
        "the socket unit an address of this machine alone"
    )


async def test_a_console_on_a_socket_of_this_machine_answers_there(tmp_path: Path, sink: Sink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        loaded = load(written(tmp_path, config(sink, 0)), {})
        async with running(
            loaded, structlog.get_logger(), GatewayOptions(sockets=HandedOver(admin=listening.dup()))
        ) as ready:
            assert ready.admin.url == f"http://127.0.0.1:{port}"
            async with aiohttp.ClientSession() as session, session.get(f"{ready.admin.url}/sign-in") as page:
                assert page.status == 200


def written(folder: Path, text: str) -> Path:
    """A configuration in a file."""
    path = folder / "gateway.yaml"
    path.write_text(text)
    return path


@contextlib.asynccontextmanager
async def nginx(folder: Path, ports: tuple[int, int], listen: int) -> AsyncIterator[ssl.SSLContext]:
    """nginx with the example of config/deploy, at other ports and with a certificate of its own."""
    cert, key = self_signed(folder)
    example = (ROOT / "config/deploy/nginx/gateway.conf").read_text()
    changes = {
        "server 127.0.0.1:8080": f"server 127.0.0.1:{ports[0]}",
        "# server 127.0.0.1:8090": f"server 127.0.0.1:{ports[1]}",
        "listen 443 ssl;": f"listen 127.0.0.1:{listen} ssl;",
        "    listen [::]:443 ssl;\n": "",
        "/etc/letsencrypt/live/hooks.example.com/fullchain.pem": str(cert),
        "/etc/letsencrypt/live/hooks.example.com/privkey.pem": str(key),
    }
    for before, after in changes.items():
        assert example.count(before) == 1
        example = example.replace(before, after)
    paths = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;\n"
        f"events {{ worker_connections 1024; }}\nhttp {{ access_log off;\n{paths}{example}}}\n"
    )
    command = ["nginx", "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(folder / "nginx.conf")]
    tried = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert tried.returncode == 0, tried.stderr
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await until(lambda: connects(listen))
        yield ssl.create_default_context(cafile=str(cert))
    finally:
        process.send_signal(signal.SIGQUIT)
        await process.wait()


async def connects(port: int) -> bool:
    """Whether somebody takes a connection."""
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


async def restart_behind(gateway: GatewayProcess, load: Load) -> None:
    """Restarts it, and waits until what stands in front sends it events again, as one does in a rolling restart."""
    await restart(gateway)
    await until(
        lambda: not ("event.routed" not in gateway.log.read_text().rpartition("gateway.ready")[2] and not load.is_over)
    )


async def test_two_gateways_restarted_in_turn_behind_nginx_refuse_nothing_and_repeat_nothing(
    tmp_path: Path, sink: Sink
) -> None:
    ports, listen = (free_port(), free_port()), free_port()
    with OwnServer() as server:
        gateways = []
        for number, port in enumerate(ports):
            folder = tmp_path / f"g{number}"
            folder.mkdir()
            text = config(sink, port, server.url, "trusted_proxies: [127.0.0.1], shutdown_delay: 200ms")
            gateways.append(GatewayProcess(folder, text, port))
        try:
            for one in gateways:
                await one.start()
            first, second = gateways
            async with nginx(tmp_path, ports, listen) as context:
                connector = aiohttp.TCPConnector(ssl=context, limit=0)
                async with aiohttp.ClientSession(connector=connector) as session:
                    load = Load(f"https://127.0.0.1:{listen}/webhooks/acme", session)
                    await load.run(
                        {
                            EVENTS // 6: lambda: restart_behind(first, load),
                            EVENTS * 2 // 6: lambda: restart_behind(second, load),
                            EVENTS * 3 // 6: lambda: restart_behind(first, load),
                            EVENTS * 4 // 6: lambda: restart_behind(second, load),
                        }
                    )
                await until_delivered(sink, load)
        finally:
            codes = await asyncio.gather(*(asyncio.to_thread(one.terminate) for one in gateways))
        connection = await asyncpg.connect(server.url, server_settings={"search_path": "gateway"})
        stored = await connection.fetchval("SELECT count(*) FROM events")
        states = {row[0] for row in await connection.fetch("SELECT DISTINCT state FROM deliveries")}
        await connection.close()
    assert codes == [0, 0]
    assert load.ends == {"200": EVENTS}
    assert stored == EVENTS
    assert states == {"succeeded"}
    assert set(sink.ids.values()) == {1}
    assert len(sink.ids) == EVENTS


async def test_after_sigterm_readiness_goes_first_and_events_are_taken_until_the_delay_is_over(
    tmp_path: Path, sink: Sink
) -> None:
    port = free_port()
    gateway = GatewayProcess(tmp_path, config(sink, port, server="shutdown_delay: 5s"), port)
    await gateway.start()
    async with aiohttp.ClientSession() as session:
        ending = asyncio.create_task(asyncio.to_thread(gateway.terminate))

        async def is_stopping() -> bool:
            async with session.get(f"{gateway.url}/readyz") as answer:
                if answer.status == 200:
                    return False
                assert (answer.status, answer.headers["Connection"]) == (503, "close")
                assert (await answer.json())["error"]["code"] == "stopping"
                return True

        await until(is_stopping)
        async with session.get(f"{gateway.url}/healthz") as answer:
            assert answer.status == 200  # it lives, and is not to be killed for it
        event = make_event("checkout.session.completed")
        assert await post(session, f"{gateway.url}/webhooks/acme", event) == (200, {"received": True})
        assert await ending == 0
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"{gateway.url}/readyz")
    assert gateway.rows("SELECT state FROM deliveries") == [("pending",)]  # the next start runs it
    await gateway.start()
    await gateway.until_finished()
    gateway.terminate()
    assert list(sink.events.values()) == [event["id"]]


async def test_a_restart_waits_for_attempts_first_and_for_its_listener_last(tmp_path: Path, serve: Serve) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
        arrived.set()
        await go_on.wait()
        return aiohttp.web.Response()

    sink = Sink()
    sink.url = await serve(slow)
    port = free_port()
    gateway = GatewayProcess(tmp_path, config(sink, port), port)
    await gateway.start()
    async with aiohttp.ClientSession() as session:
        await post(session, f"{gateway.url}/webhooks/acme", make_event("checkout.session.completed"))
        await arrived.wait()
        ending = asyncio.create_task(asyncio.to_thread(gateway.terminate))
        await until(lambda: '"gateway.stopping"' in gateway.log.read_text())
        late = make_event("checkout.session.completed")
        assert (await post(session, f"{gateway.url}/webhooks/acme", late))[0] == 200
        go_on.set()
        assert await ending == 0
    assert gateway.rows("SELECT state, attempts FROM deliveries ORDER BY seq") == [("succeeded", 1), ("pending", 0)]
