#!/usr/bin/env bash
# aiohttp sends a GET, PUT or DELETE once more of itself when the connection ends without an answer, which is no sign that the
# server has not done it, and does so on a new connection too: the service sees two requests, the caller one. A POST is a
# ServerDisconnectedError instead.
. "$(dirname "$0")/common.sh"
packages aiohttp==3.14.5
seen "GET: answered 200, sent 2 times
PUT: answered 200, sent 2 times
DELETE: answered 200, sent 2 times
POST: ServerDisconnectedError, sent 1 times
PUT with force_close=True: answered 200, sent 2 times" <<'PY'
import asyncio

from aiohttp import ClientError, ClientSession, TCPConnector

sent = []


async def serve(reader, writer):
    """Takes one request a connection; the answer to the first of each trial is lost."""
    sent.append(await reader.readuntil(b"\r\n\r\n"))
    await reader.readexactly(len(b"paid"))
    if len(sent) > 1:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
    writer.close()


async def trial(name, method, address, **options):
    sent.clear()
    async with ClientSession(connector=TCPConnector(**options)) as session:
        try:
            async with session.request(method, address, data=b"paid") as answer:
                outcome = f"answered {answer.status}"
        except ClientError as error:
            outcome = type(error).__name__
    print(f"{name}: {outcome}, sent {len(sent)} times")


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = "http://127.0.0.1:%d/orders/7" % server.sockets[0].getsockname()[1]
    for method in ("GET", "PUT", "DELETE", "POST"):
        await trial(method, method, address)
    await trial("PUT with force_close=True", "PUT", address, force_close=True)


asyncio.run(main())
PY
